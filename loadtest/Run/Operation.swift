import CohortAPI
import NIOCore
import RPC
import SwiftProtobuf

/// A kind of call that a load is mixed of, by the name of its method.
enum Operation: String, Sendable, CaseIterable {
    case checkMembership = "CheckMembership"
    case batchCheckMembership = "BatchCheckMembership"
    case listCustomerCohorts = "ListCustomerCohorts"
    case countMembers = "CountMembers"
    case explainMembership = "ExplainMembership"
    case listMembers = "ListMembers"
    case getCustomer = "GetCustomer"
    case getMembershipHistory = "GetMembershipHistory"
    case putCustomer = "PutCustomer"
    case batchPutCustomers = "BatchPutCustomers"
    case importCustomers = "ImportCustomers"

    var method: MethodDescriptor {
        switch self {
        case .checkMembership: MembershipServiceMethods.checkMembership
        case .batchCheckMembership: MembershipServiceMethods.batchCheckMembership
        case .listCustomerCohorts: MembershipServiceMethods.listCustomerCohorts
        case .countMembers: MembershipServiceMethods.countMembers
        case .explainMembership: MembershipServiceMethods.explainMembership
        case .listMembers: MembershipServiceMethods.listMembers
        case .getCustomer: CustomerServiceMethods.getCustomer
        case .getMembershipHistory: HistoryServiceMethods.getMembershipHistory
        case .putCustomer: CustomerServiceMethods.putCustomer
        case .batchPutCustomers: CustomerServiceMethods.batchPutCustomers
        case .importCustomers: CustomerServiceMethods.importCustomers
        }
    }

    /// What `size` counts, the sizes allowed and the one without it; nil where calls have none.
    var sizes: (counts: String, range: ClosedRange<Int>, usual: Int)? {
        switch self {
        case .batchCheckMembership: ("customers", 1...10_000, 100)
        case .batchPutCustomers, .importCustomers: ("rows", 1...1_000, 100)
        case .listMembers: ("ids read, in one page", 1...10_000, 1_000)
        default: nil
        }
    }

    /// Whether every call is another one, so that it changes something.
    var isWrite: Bool { [.putCustomer, .batchPutCustomers, .importCustomers].contains(self) }
}

/// One part of a mix.
struct MixEntry: Sendable, Equatable {
    var operation: Operation
    /// Its share is its weight over the sum of all.
    var weight: Double
    /// See `Operation.sizes`.
    var size: Int
    /// From the moment a call is due; nil for none.
    var deadline: Duration?
    /// `x-criticality` of its calls.
    var criticality: Criticality?

    init(
        _ operation: Operation,
        weight: Double = 1,
        size: Int? = nil,
        deadline: Duration? = nil,
        criticality: Criticality? = nil
    ) {
        self.operation = operation
        self.weight = weight
        self.size = size ?? operation.sizes?.usual ?? 1
        self.deadline = deadline
        self.criticality = criticality
    }
}

/// Makes the requests of one part of a mix. Those of reads are made beforehand and sent again and again, so that the generator is
/// not what is measured; those of writes are new each time, or nothing would change.
struct RequestSource {
    private let entry: MixEntry
    private let scenario: Scenario
    private var keys: KeySampler
    private var generator: SplitMix64
    private var made: [ByteBuffer] = []
    private var next = 0

    /// - Parameter calls: As many as will be asked for, about: no more are made beforehand.
    /// - Throws: What SwiftProtobuf throws for a message that it cannot write.
    init(_ entry: MixEntry, _ scenario: Scenario, seed: UInt64, calls: Double) throws {
        self.entry = entry
        self.scenario = scenario
        keys = KeySampler(scenario.keys, count: scenario.population.customers)
        generator = SplitMix64(state: seed)
        guard !entry.operation.isWrite else { return }
        // Enough of them that a skewed choice stays one, in a few tens of MiB.
        let count = max(1, min(1 << 18, (1 << 20) / entry.size, Int(min(calls, 1e9).rounded(.up))))
        made.reserveCapacity(count)
        for _ in 0..<count { made.append(try make()) }
    }

    mutating func request() throws -> ByteBuffer {
        guard !made.isEmpty else { return try make() }
        defer { next = next + 1 == made.count ? 0 : next + 1 }
        return made[next]
    }

    private mutating func make() throws -> ByteBuffer {
        let message: any Message
        switch entry.operation {
        case .checkMembership:
            message = CheckMembershipRequest.with {
                $0.customerID = customer()
                $0.cohortID = cohort()
            }
        case .batchCheckMembership:
            message = BatchCheckMembershipRequest.with {
                $0.customerIds = (0..<entry.size).map { _ in customer() }
                $0.cohortIds = scenario.cohorts
            }
        case .listCustomerCohorts: message = ListCustomerCohortsRequest.with { $0.customerID = customer() }
        case .countMembers: message = CountMembersRequest.with { $0.cohortID = cohort() }
        case .explainMembership:
            message = ExplainMembershipRequest.with {
                $0.customerID = customer()
                $0.cohortID = cohort()
            }
        case .listMembers:
            message = ListMembersRequest.with {
                $0.cohortID = cohort()
                $0.pageSize = UInt32(entry.size)
            }
        case .getCustomer: message = GetCustomerRequest.with { $0.customerID = customer() }
        case .getMembershipHistory: message = GetMembershipHistoryRequest.with { $0.customerID = customer() }
        case .putCustomer: message = row()
        case .batchPutCustomers:
            message = BatchPutCustomersRequest.with { $0.rows = (0..<entry.size).map { _ in row() } }
        case .importCustomers:
            message = ImportCustomersRequest.with { $0.rows = (0..<entry.size).map { _ in row() } }
        }
        return ByteBuffer(bytes: try message.serializedBytes() as [UInt8])
    }

    private mutating func customer() -> String { scenario.population.id(keys.next(&generator)) }

    private mutating func cohort() -> String {
        scenario.cohorts[Int.random(in: 0..<scenario.cohorts.count, using: &generator)]
    }

    private mutating func row() -> PutCustomerRequest {
        let spend = Double(Int.random(in: 0..<1_000_000, using: &generator)) / 100
        return .with {
            $0.customerID = customer()
            $0.attributes = ["daily_spend": .with { $0.doubleValue = spend }]
        }
    }
}
