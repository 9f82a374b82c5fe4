extension OTLPNumberDataPoint {
    /// The value, whichever way it was sent; 0 where there is none.
    package var number: Double {
        switch value {
        case .asInt(let value): Double(value)
        case .asDouble(let value): value
        case nil: 0
        }
    }
}
