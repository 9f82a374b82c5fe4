import Foundation
import Synchronization

/// A reader-writer lock whose readers do not meet: each thread locks a stripe of its own, on a cache line of its own,
/// and the writer locks them all.
///
/// A read costs one uncontended mutex. With more threads than stripes some share one and may wait for each other for the
/// length of a read. Not recursive.
package final class StripedLock: @unchecked Sendable {
    // Unchecked: the mutexes live in raw memory, at fixed addresses, and are only ever used through pthreads.
    private static let stripes = 64
    private static let stride = 128

    private let memory: UnsafeMutableRawPointer
    private let key: pthread_key_t
    private let nextStripe = Atomic<Int>(0)

    package init() {
        memory = .allocate(byteCount: Self.stripes * Self.stride, alignment: Self.stride)
        var key = pthread_key_t()
        let created = pthread_key_create(&key, nil)
        precondition(created == 0, "no thread-specific key left")
        self.key = key
        for i in 0..<Self.stripes {
            let initialized = pthread_mutex_init(mutex(i), nil)
            precondition(initialized == 0, "mutex initialisation failed")
        }
    }

    deinit {
        for i in 0..<Self.stripes { pthread_mutex_destroy(mutex(i)) }
        pthread_key_delete(key)
        memory.deallocate()
    }

    @inline(__always)
    package func withReadLock<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        let mutex = mutex(ownStripe())
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    package func withWriteLock<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        for i in 0..<Self.stripes { pthread_mutex_lock(mutex(i)) }
        defer { for i in 0..<Self.stripes { pthread_mutex_unlock(mutex(i)) } }
        return try body()
    }

    @inline(__always)
    private func mutex(_ i: Int) -> UnsafeMutablePointer<pthread_mutex_t> {
        (memory + i * Self.stride).assumingMemoryBound(to: pthread_mutex_t.self)
    }

    /// The calling thread's stripe, given out in turn at its first read.
    @inline(__always)
    private func ownStripe() -> Int {
        let stored = Int(bitPattern: pthread_getspecific(key))
        return stored != 0 ? stored - 1 : assignStripe()
    }

    private func assignStripe() -> Int {
        let stripe = nextStripe.wrappingAdd(1, ordering: .relaxed).oldValue % Self.stripes
        pthread_setspecific(key, UnsafeRawPointer(bitPattern: stripe + 1))
        return stripe
    }
}
