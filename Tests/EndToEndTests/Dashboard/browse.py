"""Looks at a dashboard with a real browser.

    browse.py facts URL DIRECTORY      what the page shows, as JSON files in DIRECTORY, in steps (see `facts`)
    browse.py pictures URL DIRECTORY   PNGs of the page as it is: light, dark and on a phone
"""
import json
import os
import sys
import time

from playwright.sync_api import sync_playwright

BROWSER = "/usr/bin/chromium-headless-shell"
WAIT = 60_000  # milliseconds; a guard against hanging

LOOK = """() => {
  const all = (query) => [...document.querySelectorAll(query)];
  const words = (node) => node.textContent.trim();
  const heat = document.querySelector("#chart-heat canvas");
  const pixels = heat && heat.width ? heat.getContext("2d").getImageData(0, 0, heat.width, heat.height).data : [];
  let painted = 0;
  for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] > 0 ? 1 : 0;
  return {
    state: words(document.querySelector("#state-text")),
    alarm: document.querySelector("#alarm").hidden ? "" : words(document.querySelector("#alarm")),
    tiles: Object.fromEntries(all(".tile").map((t) => [t.id.slice(5), words(t.querySelector(".value"))])),
    sparks: Object.fromEntries(all(".tile").map((t) => [t.id.slice(5), t.querySelector(".line").getAttribute("d").length])),
    series: Object.fromEntries(all(".chart").map((c) =>
      [c.id.slice(6), all(`#${c.id} path.series`).map((path) => path.getTotalLength())])),
    heat: painted,
    cohorts: Object.fromEntries(all("tr[data-cohort]").map((row) => [row.dataset.cohort, all("tr[data-cohort]")
      .find((r) => r === row).querySelectorAll("td")[3].textContent])),
    limits: words(document.querySelector("#overload")),
    builds: words(document.querySelector("#builds")),
    breakers: words(document.querySelector("#breakers")),
    store: words(document.querySelector("#store")),
    tableRows: all("#table tbody tr").length,
    unlabelled: all("[role=img], [role=progressbar]").filter((n) => !n.getAttribute("aria-label")).length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    background: getComputedStyle(document.body).backgroundColor,
    text: getComputedStyle(document.body).color,
    violations: window.violations,
  };
}"""


def browser(playwright):
    # As root in a container Chromium cannot have its sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=BROWSER, args=arguments)


def text_of(page, query, words):
    page.locator(query, has_text=words).wait_for(timeout=WAIT)


def facts(playwright, url, directory):
    """Writes `seen.json`; then `gone.json` once the server is gone, `back.json` once it is back, and `alone.json` once the
    sidecar is gone. Who started this brings each about when the file before it is there."""

    def write(name, value):
        path = os.path.join(directory, name)
        with open(path + ".part", "w") as file:
            json.dump(value, file)
        os.rename(path + ".part", path)

    context = browser(playwright).new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.add_init_script(
        "window.violations = [];"
        "document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective));"
    )
    page = context.new_page()
    errors, requests = [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: requests.append(r.url))
    response = page.goto(url)
    text_of(page, "#state-text", "Serving")
    # Until two samples with calls have made lines.
    deadline = time.monotonic() + WAIT / 1000
    while time.monotonic() < deadline:
        seen = page.evaluate(LOOK)
        if all(min(lengths, default=3) > 2 for lengths in seen["series"].values()) and seen["heat"] > 0:
            break
        time.sleep(0.2)
    seen["headers"] = response.headers
    page.locator("#plot-calls").focus()
    page.keyboard.press("ArrowLeft")
    seen["spoken"] = page.locator("#plot-calls").get_attribute("aria-label")
    seen["pointed"] = page.locator("#chart-calls .when").text_content()
    page.locator("summary").click()
    page.locator("#table tbody tr").first.wait_for(timeout=WAIT)
    seen["tableRows"] = page.locator("#table tbody tr").count()
    page.emulate_media(color_scheme="dark")
    seen["dark"] = page.evaluate(LOOK)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    seen["phone"] = page.evaluate(LOOK)
    seen["token"] = token(context, url)
    seen["errors"], seen["requests"] = list(errors), list(requests)
    write("seen.json", seen)

    text_of(page, "#state-text", "Not answering")
    write("gone.json", page.evaluate(LOOK))
    text_of(page, "#state-text", "Serving")
    write("back.json", page.evaluate(LOOK))
    text_of(page, "#state-text", "No connection")
    write("alone.json", page.evaluate(LOOK))


def token(context, url):
    """What a page does that is let in with a token alone: asks for it, says when it is wrong, and shows the figures."""
    page = context.new_page()

    def guard(route):
        # The page's own requests, answered as by a sidecar that wants a token.
        if route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, body="")

    page.route("**/dashboard/data*", guard)
    page.goto(url)
    result = []
    for word in ("wrong", "right"):
        page.locator("#token-input").wait_for(timeout=WAIT)
        result.append(page.locator("#token-text").text_content())
        page.locator("#token-input").fill(word)
        page.locator("#token button").click()
        if word == "wrong":
            text_of(page, "#token-text", "does not take")
    text_of(page, "#state-text", "Serving")
    result.append(page.locator("#tile-customers .value").text_content())
    page.close()
    return result


def pictures(playwright, url, directory):
    chromium = browser(playwright)
    for name, width, height, scheme in [
        ("dashboard", 1280, 964, "light"), ("dashboard-dark", 1280, 964, "dark"), ("dashboard-phone", 390, 1575, "light"),
    ]:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.goto(url)
        text_of(page, "#state-text", "Serving")
        page.locator("tr[data-cohort]").first.wait_for(timeout=WAIT)
        page.screenshot(path=os.path.join(directory, name + ".png"))
        context.close()


if __name__ == "__main__":
    command, url, directory = sys.argv[1:]
    with sync_playwright() as playwright:
        {"facts": facts, "pictures": pictures}[command](playwright, url, directory)
