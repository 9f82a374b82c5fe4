import Foundation

/// Finds methods by the bytes of their names, without making strings of them.
package struct MethodTable: Sendable {
    /// A method under its names. A class, so that a connection that remembers one copies a single reference.
    package final class Entry: Sendable {
        fileprivate let service: [UInt8]
        fileprivate let name: [UInt8]
        package let method: Method

        fileprivate init(_ method: Method) {
            service = Array(method.descriptor.service.utf8)
            name = Array(method.descriptor.method.utf8)
            self.method = method
        }

        @inline(__always)
        package func isNamed(_ service: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer) -> Bool {
            self.service.elementsEqualBytes(service) && self.name.elementsEqualBytes(name)
        }
    }

    private var buckets: [[Entry]]
    private let unknownChain: InterceptorChain

    package init(_ router: Router, interceptors: [any ServerInterceptor] = []) {
        unknownChain = InterceptorChain(interceptors)
        let methods = router.intercepted(by: interceptors)
        var size = 16
        while size < methods.count * 2 { size *= 2 }
        buckets = Array(repeating: [], count: size)
        for method in methods.values {
            let entry = Entry(method)
            let index = entry.service.withUnsafeBytes { service in
                entry.name.withUnsafeBytes { bucket(service, $0) }
            }
            buckets[index].append(entry)
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

    /// Stands for a method this server does not have, so that interceptors see the call.
    package func unknown(service: String, name: String) -> Method {
        Method(
            descriptor: MethodDescriptor(service: service, method: name, kind: .unary),
            isKnown: false,
            chain: unknownChain
        )
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
