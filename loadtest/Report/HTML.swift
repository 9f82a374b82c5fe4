/// A page that stands alone: no script and nothing loaded from elsewhere.
enum HTML {
    /// For text and for attributes in double quotes.
    static func escape(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }

    /// - Parameters:
    ///   - title: Plain text.
    ///   - body: HTML.
    static func page(title: String, subtitle: String, body: String) -> String {
        """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <meta name="color-scheme" content="light dark">
        <title>\(escape(title))</title>
        <style>\(style)</style></head>
        <body><main>
        <header><h1>\(escape(title))</h1><p class="sub">\(escape(subtitle))</p></header>
        \(body)
        </main></body></html>

        """
    }

    /// Cards with a large figure each.
    static func cards(_ cards: [(label: String, value: String, note: String, isBad: Bool)]) -> String {
        let items = cards.map { card in
            "<div class=\"card\(card.isBad ? " bad" : "")\"><dt>\(escape(card.label))</dt><dd\(card.value.count > 9 ? " class=\"long\"" : "")>\(escape(card.value))</dd>"
                + "<p>\(escape(card.note))</p></div>"
        }
        return "<dl class=\"cards\">\(items.joined())</dl>\n"
    }

    /// - Parameter numbers: The columns, from 0, that are aligned to the right.
    static func table(_ head: [String], _ rows: [[String]], numbers: Set<Int> = []) -> String {
        func row(_ cells: [String], _ tag: String) -> String {
            let cells = cells.enumerated().map { index, cell in
                "<\(tag)\(numbers.contains(index) ? " class=\"n\"" : "")>\(escape(cell))</\(tag)>"
            }
            return "<tr>\(cells.joined())</tr>"
        }
        return "<div class=\"scroll\"><table><thead>\(row(head, "th"))</thead><tbody>"
            + rows.map { row($0, "td") }.joined() + "</tbody></table></div>\n"
    }

    static func charts(_ charts: [Chart]) -> String {
        "<div class=\"charts\">\n\(charts.map(\.html).joined())</div>\n"
    }

    static func section(_ title: String, _ body: String) -> String {
        "<section><h2>\(escape(title))</h2>\n\(body)</section>\n"
    }

    /// Lines of text; what stands before a colon is set off.
    static func lines(_ text: String) -> String {
        let items = text.split(separator: "\n").map { line in
            guard let colon = line.firstIndex(of: ":"), line[..<colon].count < 40 else {
                return "<li>\(escape(String(line)))</li>"
            }
            return
                "<li><b>\(escape(String(line[...colon])))</b>\(escape(String(line[line.index(after: colon)...])))</li>"
        }
        return "<ul class=\"words\">\(items.joined())</ul>\n"
    }

    /// What has to be read before the rest; nothing for none.
    static func warnings(_ texts: [String]) -> String {
        guard !texts.isEmpty else { return "" }
        let items = texts.map { "<li>\(escape($0.prefix(1).uppercased() + $0.dropFirst())).</li>" }
        return "<ul class=\"words warn\">\(items.joined())</ul>\n"
    }

    private static let style = """
        :root{--bg:#f6f7f9;--card:#fff;--text:#1b1f24;--soft:#5b6571;--line:#e3e7ec;--axis:#9aa4b0;--bad:#b42318;
        --c1:#2563eb;--c2:#d9730d;--c3:#0f8a5f;--c4:#c0267e;--c5:#7c5cd6;--c6:#64748b;--c7:#b42318;--c8:#0e7490}
        @media(prefers-color-scheme:dark){:root{--bg:#0f1216;--card:#181c22;--text:#e6e9ed;--soft:#9aa5b1;--line:#2a3038;
        --axis:#5b6571;--bad:#ff8a7a;--c1:#6ea8ff;--c2:#f5a35b;--c3:#4fc99a;--c4:#f27ab8;--c5:#ad97f5;--c6:#94a3b8;
        --c7:#ff8a7a;--c8:#5cc5dd}}
        *{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);
        font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
        main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;line-height:1.2;margin:0}
        h2{font-size:18px;margin:34px 0 12px}h3{font-size:15px;margin:0 0 6px}.sub{color:var(--soft);margin:6px 0 22px;
        overflow-wrap:anywhere}.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px;margin:0}
        .card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
        .card dt{color:var(--soft);font-size:13px}.card dd{margin:2px 0 0;font-size:22px;font-weight:600;
        font-variant-numeric:tabular-nums}.card p{margin:2px 0 0;color:var(--soft);font-size:12.5px;overflow-wrap:anywhere}
        .card dd.long{font-size:16px}.card.bad{border-color:var(--bad)}.card.bad dd{color:var(--bad)}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}
        .chart,.words,.scroll{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:0}
        .chart{padding:14px 14px 10px;min-width:0}.words{padding:12px 18px;list-style:none}.words li{padding:4px 0}
        .warn{border-color:var(--bad);border-left-width:5px;margin:0 0 16px}
        .plot{display:block;width:100%;height:auto;font-size:12px}.plot text{fill:var(--soft)}.grid{stroke:var(--line)}
        .axis{stroke:var(--axis)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
        .dashed{stroke-dasharray:5 4}.band{opacity:.18}.bar{opacity:.85}.mark{stroke-width:1.3;stroke-dasharray:2 3}
        .plot .name{font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:3px}.hover{fill:transparent}
        .hover:hover{fill:var(--axis);fill-opacity:.16}.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;
        margin:6px 0 0;padding:0;font-size:13px;color:var(--soft)}.key{display:inline-block;width:16px;height:0;
        margin-right:6px;vertical-align:middle;border-top:2.5px solid}.key.dashed{border-top-style:dashed}
        .key.area{height:9px;border:0;background:currentColor;opacity:.3}.key.dot{width:8px;height:8px;border:0;
        border-radius:50%;background:currentColor}.key.cross{width:12px;height:auto;border:0;line-height:1}
        .key.cross::before{content:"\\2715";font-size:12px}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;
        font-size:13.5px;font-variant-numeric:tabular-nums}th,td{padding:7px 12px;text-align:left;white-space:nowrap;
        border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:500}tr:last-child td{border-bottom:0}
        .n{text-align:right}
        .s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}
        .s6{stroke:var(--c6)}.s7{stroke:var(--c7)}.s8{stroke:var(--c8)}.plot .f1{fill:var(--c1)}.plot .f2{fill:var(--c2)}
        .plot .f3{fill:var(--c3)}.plot .f4{fill:var(--c4)}.plot .f5{fill:var(--c5)}.plot .f6{fill:var(--c6)}
        .plot .f7{fill:var(--c7)}.plot .f8{fill:var(--c8)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}
        .c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}.c8{color:var(--c8)}
        @media(max-width:520px){main{padding:18px 12px 40px}.plot{font-size:14.5px}.chart{padding:10px 8px}h1{font-size:22px}
        .cards{grid-template-columns:1fr 1fr}}
        @media print{:root{--bg:#fff}.chart{break-inside:avoid}}
        """
}
