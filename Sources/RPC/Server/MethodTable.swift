/// Finds methods by the bytes of their names, without making strings of them.
package struct MethodTable: Sendable {
    private struct Entry {
        let service: [UInt8]
        let name: [UInt8]
        let method: Method
    }

    private var buckets: [[Entry]]

    package init(_ router: Router) {
        var size = 16
        while size < router.methods.count * 2 { size *= 2 }
        buckets = Array(repeating: [], count: size)
        for method in router.methods.values {
            let service = Array(method.descriptor.service.utf8)
            let name = Array(method.descriptor.method.utf8)
            let index = service.withUnsafeBytes { service in
                name.withUnsafeBytes { bucket(service, $0) }
            }
            buckets[index].append(Entry(service: service, name: name, method: method))
        }
    }

    private func bucket(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Int {
        // FNV-1a over the method's name; services differ little enough in one server to leave them out but for the length.
        var hash: UInt32 = 2_166_136_261 ^ UInt32(truncatingIfNeeded: service.count)
        for byte in name { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        return Int(hash) & (buckets.count - 1)
    }

    /// The method of these names.
    package func find(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Method? {
        for entry in buckets[bucket(service, name)]
        where entry.service.elementsEqualBytes(service) && entry.name.elementsEqualBytes(name) {
            return entry.method
        }
        return nil
    }
}

extension [UInt8] {
    fileprivate func elementsEqualBytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard count == bytes.count else { return false }
        return withUnsafeBytes { own in
            var index = 0
            while index < own.count {
                if own[index] != bytes[index] { return false }
                index += 1
            }
            return true
        }
    }
}
