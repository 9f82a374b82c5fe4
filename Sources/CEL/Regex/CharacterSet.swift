/// A set of code points: sorted ranges that do not touch, and Unicode's general categories.
struct CharacterSet: Sendable, Hashable {
    private(set) var ranges: [ClosedRange<UInt32>] = []
    /// General categories, one bit each, and those whose complement is in the set.
    private var categories: [CategoryMask] = []
    private var isNegated = false
    /// The first 128 code points, one bit each.
    private var low: UInt64 = 0
    private var lower: UInt64 = 0

    /// Some general categories, or all but those.
    struct CategoryMask: Sendable, Hashable {
        var mask: UInt32
        var isNegated: Bool

        func contains(_ code: UInt32) -> Bool {
            guard let scalar = Unicode.Scalar(code) else { return isNegated }
            let bit = Categories.bit(scalar.properties.generalCategory)
            return (mask & bit != 0) != isNegated
        }
    }

    init(_ ranges: [ClosedRange<UInt32>], categories: [CategoryMask] = [], negated: Bool = false) {
        var merged: [ClosedRange<UInt32>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = merged.last, range.lowerBound <= last.upperBound &+ 1 {
                merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        self.ranges = merged
        self.categories = categories
        isNegated = negated
        for code in UInt32(0)..<128 where slowlyContains(code) {
            if code < 64 { lower |= 1 << UInt64(code) } else { low |= 1 << UInt64(code - 64) }
        }
    }

    @inline(__always)
    func contains(_ code: UInt32) -> Bool {
        if code < 64 { return lower >> UInt64(code) & 1 == 1 }
        if code < 128 { return low >> UInt64(code - 64) & 1 == 1 }
        return slowlyContains(code)
    }

    private func slowlyContains(_ code: UInt32) -> Bool {
        var from = 0
        var to = ranges.count
        while from < to {
            let middle = (from + to) / 2
            if ranges[middle].upperBound < code { from = middle + 1 } else { to = middle }
        }
        let found = from < ranges.count && ranges[from].contains(code) || categories.contains { $0.contains(code) }
        return found != isNegated
    }

    /// The complement of ranges, for a negated class inside a class.
    static func complement(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        var gaps: [ClosedRange<UInt32>] = []
        var next: UInt32 = 0
        for range in CharacterSet(ranges).ranges {
            if range.lowerBound > next { gaps.append(next...(range.lowerBound - 1)) }
            next = range.upperBound + 1
        }
        if next <= 0x10FFFF { gaps.append(next...0x10FFFF) }
        return gaps
    }
}

/// Unicode's general categories by their short names.
enum Categories {
    private static let names: [(String, Unicode.GeneralCategory)] = [
        ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
        ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
        ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
        ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
        ("Cn", .unassigned),
    ]

    static func bit(_ category: Unicode.GeneralCategory) -> UInt32 {
        for (place, entry) in names.enumerated() where entry.1 == category { return 1 << UInt32(place) }
        return 0
    }

    /// The bits of a category such as `Lu`, or of a group of them such as `L`.
    static func mask(_ name: String) -> UInt32? {
        var mask: UInt32 = 0
        for (place, entry) in names.enumerated() where entry.0 == name || name.count == 1 && entry.0.hasPrefix(name) {
            mask |= 1 << UInt32(place)
        }
        // RE2 leaves unassigned code points out of C.
        if name == "C" { mask &= ~bit(.unassigned) }
        return mask == 0 || name == "Cn" ? nil : mask
    }
}

/// Code points that differ by case alone.
enum CaseFolding {
    /// The blocks with letters of two cases (Unicode 16); going through all code points would take a hundred times longer.
    private static let blocks: [ClosedRange<UInt32>] = [
        0x41...0x5FF, 0x10A0...0x10FF, 0x13A0...0x13FF, 0x1C80...0x1CBF, 0x1D00...0x1FFF, 0x2100...0x218F,
        0x24B0...0x24EF, 0x2C00...0x2D2F, 0xA640...0xABBF, 0xFF21...0xFF5A, 0x10400...0x105FF, 0x10C80...0x10DFF,
        0x118A0...0x118DF, 0x16E40...0x16E7F, 0x1E900...0x1E95F,
    ]

    /// Each code point that has counterparts, with all of them. Made once, at the first `(?i)`.
    private static let orbits: [(code: UInt32, others: [UInt32])] = {
        var groups: [UInt32: Set<UInt32>] = [:]
        func single(_ text: String) -> UInt32? {
            let scalars = text.unicodeScalars
            return scalars.count == 1 ? scalars.first?.value : nil
        }
        for code in blocks.joined() {
            guard let scalar = Unicode.Scalar(code) else { continue }
            let properties = scalar.properties
            guard properties.changesWhenLowercased || properties.changesWhenUppercased else { continue }
            let lower = single(properties.lowercaseMapping) ?? code
            let upper = single(properties.uppercaseMapping) ?? code
            // Upper and then lower case bring all of an orbit to one: K, k and the Kelvin sign.
            let root = Unicode.Scalar(upper).flatMap { single($0.properties.lowercaseMapping) } ?? lower
            groups[root, default: []].formUnion([code, lower, upper, root])
        }
        return groups.values.filter { $0.count > 1 }
            .flatMap { group in group.map { code in (code, group.subtracting([code]).sorted()) } }
            .sorted { $0.code < $1.code }
    }()

    /// The ranges, and the counterparts of all that is in them.
    static func fold(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        var result = ranges
        for range in ranges {
            var low = 0
            var high = orbits.count
            while low < high {
                let middle = (low + high) / 2
                if orbits[middle].code < range.lowerBound { low = middle + 1 } else { high = middle }
            }
            while low < orbits.count, orbits[low].code <= range.upperBound {
                result += orbits[low].others.map { $0...$0 }
                low += 1
            }
        }
        return result
    }
}
