"""Opens a report in headless Chromium and prints what is to be seen in it as JSON.

usage: open_report.py FILE [SCREENSHOT-PREFIX]
       open_report.py --picture FILE PNG WIDTH HEIGHT light|dark
"""
import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

LOOK = """() => ({
  title: document.title,
  charts: [...document.querySelectorAll('figure.chart')].map(figure => {
    const shapes = [...figure.querySelectorAll('svg .line, svg .point, svg .bar, svg .band')];
    const seen = shapes.filter(shape => {
      const box = shape.getBBox();
      return (box.width > 0 || box.height > 0) && getComputedStyle(shape).visibility === 'visible';
    });
    const plot = figure.querySelector('svg').getBoundingClientRect();
    const texts = [...figure.querySelectorAll('svg text')].map(text => text.getBoundingClientRect());
    return {
      title: figure.querySelector('h3').textContent,
      drawn: seen.length,
      ticks: figure.querySelectorAll('svg .tick').length,
      labels: figure.querySelectorAll('svg .label').length,
      outside: texts.filter(box => box.left < plot.left - 1 || box.right > plot.right + 1 || box.top < plot.top - 1
        || box.bottom > plot.bottom + 1).length,
      broken: /NaN|Infinity/.test(figure.querySelector('svg').innerHTML),
      accessible: figure.querySelector('svg > title').textContent.length > 0,
    };
  }),
  scripts: document.querySelectorAll('script, img, iframe').length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  background: getComputedStyle(document.body).backgroundColor,
  font: Math.min(...[...document.querySelectorAll('svg .tick')].map(tick => tick.getBoundingClientRect().height)),
})"""


def picture(browser_path: str, file: str, png: str, width: str, height: str, scheme: str) -> None:
    """The top of the page, as high as HEIGHT at most."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": int(width), "height": 100}, color_scheme=scheme)
        page.goto(Path(file).resolve().as_uri())
        whole = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": int(width), "height": min(whole, int(height))})
        page.screenshot(path=png)
        browser.close()


def main() -> None:
    browser_path = shutil.which("chromium-headless-shell")
    if browser_path is None:
        sys.exit("chromium-headless-shell is missing: scripts/setup installs it")
    if sys.argv[1] == "--picture":
        return picture(browser_path, *sys.argv[2:])
    path = Path(sys.argv[1]).resolve()
    prefix = sys.argv[2] if len(sys.argv) > 2 else None
    views = {
        "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
        "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        "phone": {"viewport": {"width": 375, "height": 740}, "color_scheme": "light"},
    }
    seen = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, view in views.items():
            page = browser.new_page(**view)
            messages, requests = [], []
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("dialog", lambda dialog: (messages.append("dialog"), dialog.dismiss()))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(path.as_uri())
            seen[name] = page.evaluate(LOOK) | {"messages": messages, "requests": len(requests)}
            if prefix:
                page.screenshot(path=f"{prefix}-{name}.png", full_page=True)
            page.close()
        browser.close()
    print(json.dumps(seen))


main()
