import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// Notes what it is told; answers what it is made with.
private final class Probe: ServerInterceptor {
    enum Answer: Sendable { case proceed, park, parkAndFail, reject }

    let name: String
    let answer: Answer
    let journal: Journal

    init(_ name: String, _ answer: Answer, _ journal: Journal) {
        self.name = name
        self.answer = answer
        self.journal = journal
    }

    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        journal.add("begin \(name)")
        switch answer {
        case .proceed: return .proceed
        case .park:
            return .park { [journal, name] () async throws(RPCError) in
                await Task.yield()
                journal.add("waited \(name)")
            }
        case .parkAndFail:
            return .park { () async throws(RPCError) in
                await Task.yield()
                throw RPCError(.unauthenticated, "token refused")
            }
        case .reject: throw RPCError(.permissionDenied, "not you")
        }
    }

    func end(_ call: ServerCall, _ outcome: CallOutcome) { journal.add("end \(name) \(outcome.code)") }
}

private final class Journal: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}

@Suite("Interceptors", .timeLimit(.minutes(2)))
struct InterceptorTests {
    private static let kinds: [(MethodDescriptor, Bool)] = [
        (EchoService.Methods.inline, false), (EchoService.Methods.async, false),
        (EchoService.Methods.parked, false), (EchoService.Methods.count, true),
    ]

    private func journal(
        _ answers: [Probe.Answer],
        _ method: MethodDescriptor,
        inProcess: Bool = false
    ) async throws -> ([String], RPCError?) {
        let journal = Journal()
        let probes = answers.enumerated().map { Probe("\($0.offset)", $0.element, journal) }
        var result: RPCError?
        func run(_ client: any CallTransport) async {
            do throws(RPCError) {
                if method.kind == .unary {
                    let _: Text = try await client.unary(method, Text("x"), .defaults)
                } else {
                    let stream: ResponseStream<Number> = try await client.serverStream(method, Number(2), .defaults)
                    for try await _ in stream {}
                }
            } catch {
                result = error
            }
        }
        if inProcess {
            await run(InProcessClient(services: [EchoService()], interceptors: probes))
            _ = try await eventually { journal.all.filter { $0.hasPrefix("end") }.count >= 1 || result != nil }
        } else {
            try await withServer(interceptors: probes) { harness in
                let client = try harness.client()
                await run(client)
                await client.shutdown()
            }
        }
        let begun = journal.all.filter { $0.hasPrefix("begin") }.count - (result?.code == .permissionDenied ? 1 : 0)
        _ = try await eventually { journal.all.filter { $0.hasPrefix("end") }.count >= begun }
        return (journal.all, result)
    }

    @Test("begin in order, end in reverse, for every kind of handler", arguments: kinds, [false, true])
    func order(_ kind: (MethodDescriptor, Bool), inProcess: Bool) async throws {
        let (lines, error) = try await journal([.proceed, .proceed], kind.0, inProcess: inProcess)
        #expect(error == nil)
        #expect(lines == ["begin 0", "begin 1", "end 1 OK", "end 0 OK"])
    }

    @Test("parking resumes with the interceptors that follow", arguments: kinds, [false, true])
    func parking(_ kind: (MethodDescriptor, Bool), inProcess: Bool) async throws {
        let (lines, error) = try await journal([.proceed, .park, .park, .proceed], kind.0, inProcess: inProcess)
        #expect(error == nil)
        #expect(
            lines == [
                "begin 0", "begin 1", "waited 1", "begin 2", "waited 2", "begin 3", "end 3 OK", "end 2 OK", "end 1 OK",
                "end 0 OK",
            ]
        )
    }

    @Test("a rejection ends those that began", arguments: kinds, [false, true])
    func rejection(_ kind: (MethodDescriptor, Bool), inProcess: Bool) async throws {
        let (lines, error) = try await journal([.proceed, .reject, .proceed], kind.0, inProcess: inProcess)
        #expect(error?.code == .permissionDenied)
        #expect(lines == ["begin 0", "begin 1", "end 0 PERMISSION_DENIED"])
    }

    @Test("a rejection after waiting ends the one that waited too", arguments: kinds, [false, true])
    func lateRejection(_ kind: (MethodDescriptor, Bool), inProcess: Bool) async throws {
        let (lines, error) = try await journal([.proceed, .parkAndFail, .proceed], kind.0, inProcess: inProcess)
        #expect(error?.code == .unauthenticated)
        #expect(lines == ["begin 0", "begin 1", "end 1 UNAUTHENTICATED", "end 0 UNAUTHENTICATED"])
    }

    @Test("unknown methods and failures are seen")
    func unknown() async throws {
        let (lines, error) = try await journal([.proceed], EchoService.Methods.make("Nope"))
        #expect(error?.code == .unimplemented)
        #expect(lines == ["begin 0", "end 0 UNIMPLEMENTED"])
        let (failed, _) = try await journal([.proceed], EchoService.Methods.fail)
        #expect(failed == ["begin 0", "end 0 NOT_FOUND"])
    }

    @Test("an interceptor is specialised once for each method, and may be left out", arguments: [false, true])
    func specialized(inProcess: Bool) async throws {
        struct Chooser: ServerInterceptor {
            let journal: Journal
            var name = "any"

            func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? {
                journal.add("for \(method.method)")
                return method == EchoService.Methods.async ? nil : Chooser(journal: journal, name: method.method)
            }

            func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
                journal.add("\(name) begins")
                return .proceed
            }
        }
        let journal = Journal()
        let methods = [
            EchoService.Methods.inline, EchoService.Methods.async, EchoService.Methods.make("Nope"),
            EchoService.Methods.inline,
        ]
        func call(_ client: any CallTransport) async {
            for method in methods { let _: Text? = try? await client.unary(method, Text("x"), .defaults) }
        }
        if inProcess {
            await call(InProcessClient(services: [EchoService()], interceptors: [Chooser(journal: journal)]))
        } else {
            try await withServer(interceptors: [Chooser(journal: journal)]) { harness in
                let client = try harness.client()
                await call(client)
                await client.shutdown()
            }
        }
        #expect(journal.all.filter { $0.hasSuffix("begins") } == ["Inline begins", "any begins", "Inline begins"])
        #expect(journal.all.filter { $0 == "for Inline" }.count == 1)
    }

    @Test("an interceptor is called at those ends alone that it has named", arguments: [false, true])
    func hooks(inProcess: Bool) async throws {
        struct Named: ServerInterceptor {
            enum What { case begin, end, failures, nothing }
            let journal: Journal
            let what: What

            var hooks: InterceptorHooks {
                switch what {
                case .begin: InterceptorHooks(begin: { call throws(RPCError) in try begin(call) })
                case .end: InterceptorHooks(end: { end($0, $1) })
                case .failures: InterceptorHooks(endOfFailures: { end($0, $1) })
                case .nothing: InterceptorHooks()
                }
            }

            func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
                journal.add("\(what) begins \(call.descriptor.method)")
                return .proceed
            }

            func end(_ call: ServerCall, _ outcome: CallOutcome) {
                journal.add("\(what) ends \(call.descriptor.method)")
            }
        }
        let journal = Journal()
        let interceptors = [.begin, .end, .failures, .nothing].map { Named(journal: journal, what: $0) }
        func call(_ client: any CallTransport) async {
            for method in [EchoService.Methods.inline, EchoService.Methods.fail] {
                let _: Text? = try? await client.unary(method, Text("x"), .defaults)
            }
        }
        if inProcess {
            await call(InProcessClient(services: [EchoService()], interceptors: interceptors))
        } else {
            try await withServer(interceptors: interceptors) { harness in
                let client = try harness.client()
                await call(client)
                await client.shutdown()
            }
        }
        #expect(
            Set(journal.all) == [
                "begin begins Inline", "end ends Inline", "begin begins Fail", "failures ends Fail", "end ends Fail",
            ]
        )
        #expect(journal.all.count == 5)
    }

    private enum Principal: CallKey { typealias Value = String }
    private enum Tenant: CallKey { typealias Value = Int }

    @Test("typed values are attached, read, replaced and removed")
    func values() {
        let call = ServerCall(descriptor: EchoService.Methods.inline)
        #expect(call[Principal.self] == nil)
        call[Principal.self] = "billing"
        call[Tenant.self] = 7
        #expect(call[Principal.self] == "billing")
        #expect(call[Tenant.self] == 7)
        call[Principal.self] = nil
        call[Tenant.self] = 8
        #expect(call[Principal.self] == nil)
        #expect(call[Tenant.self] == 8)
    }

    @Test("the deadline is only ever moved nearer, and is kept")
    func shortens() async throws {
        struct Impatient: ServerInterceptor {
            func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
                call.shortenDeadline(to: call.receivedAt + .milliseconds(50))
                call.shortenDeadline(to: call.receivedAt + .hours(1))
                return .proceed
            }
        }
        try await withServer(interceptors: [Impatient()]) { harness in
            let client = try harness.client()
            let error = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(EchoService.Methods.hang, Text("x"), .defaults)
            }
            #expect(error?.code == .deadlineExceeded)
            await client.shutdown()
        }
    }

    @Test("a longest time is given to unary calls without a deadline")
    func longest() throws {
        let interceptor = DeadlineInterceptor(longest: .seconds(5))
        let call = ServerCall(descriptor: EchoService.Methods.inline)
        _ = try interceptor.begin(call)
        #expect(call.deadline == call.receivedAt + .seconds(5))
        let stream = ServerCall(descriptor: EchoService.Methods.count)
        _ = try interceptor.begin(stream)
        #expect(stream.deadline == nil)
        let upload = ServerCall(
            descriptor: MethodDescriptor(service: "s", method: "Upload", kind: .clientStreaming)
        )
        _ = try interceptor.begin(upload)
        #expect(upload.deadline == nil)
        _ = try DeadlineInterceptor(longestUpload: .seconds(7)).begin(upload)
        #expect(upload.deadline == upload.receivedAt + .seconds(7))
        let late = ServerCall(descriptor: EchoService.Methods.count, deadline: .now() - .seconds(1))
        #expect(throws: RPCError.self) { try interceptor.begin(late) }
    }
}
