import Foundation

/// Finds methods by the bytes of their names, without making strings of them.
package struct MethodTable: Sendable {
    /// A method under its names.
    package struct Entry: Sendable {
        fileprivate let service: [UInt8]
        fileprivate let name: [UInt8]
        package let method: Method

        @inline(__always)
        package func isNamed(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Bool {
            self.service.elementsEqualBytes(service) && self.name.elementsEqualBytes(name)
        }
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
    package func find(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Entry? {
        buckets[bucket(service, name)].first { $0.isNamed(service, name) }
    }
}

extension [UInt8] {
    fileprivate func elementsEqualBytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard count == bytes.count, let base = bytes.baseAddress else { return isEmpty && bytes.isEmpty }
        return withUnsafeBytes { own in
            guard let mine = own.baseAddress else { return true }
            return memcmp(mine, base, own.count) == 0
        }
    }
}
