import ArgumentParser
import CohortAPI
import RPC
import SwiftProtobuf

extension LoadTest {
    struct Seed: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "seed",
            abstract: "Fill a server with generated customers and a cohort, always the same ones."
        )

        @OptionGroup var server: ServerOptions
        @Option(help: "How many customers.") var customers = 1_000_000
        @Option(help: "Bytes of an id: 15 or 36.") var idBytes = 36
        @Option(help: "The cohort that is created; half of the customers belong to it.") var cohort = "LOADTEST"

        func run() async throws {
            let population = try Population(customers: customers, idBytes: idBytes)
            let session = try await server.open(connections: 1)
            do {
                try await fill(population, session.api)
                await session.close()
            } catch {
                await session.close()
                guard let error = error as? RPCError else { throw error }
                throw LoadFailure(error, of: "seed")
            }
        }

        private func fill(_ population: Population, _ stubs: CohortClient) async throws {
            let existing = try await stubs.cohorts.listCohorts(.init()).cohorts
            if !existing.contains(where: { $0.cohortID == cohort }) {
                _ = try await stubs.cohorts.createCohort(
                    .with {
                        $0.cohortID = cohort
                        $0.rule = "customer.daily_spend > 5000.0"
                    }
                )
            }
            let begin = ContinuousClock.now
            try await importAll(population, stubs.customers)
            let seconds = begin.duration(to: .now) / .seconds(1)
            print("\(customers) customers in \(seconds) s, \(Int(Double(customers) / seconds)) a second")
        }

        private func importAll(_ population: Population, _ stub: CustomerServiceClient) async throws {
            let call = try await stub.importCustomers()
            var answers = call.responses.makeAsyncIterator()
            var next = 0
            var done = 0
            // A few messages under way, so that the server never waits for the next one.
            while done < population.customers {
                if next < population.customers, next - done < 4_000 {
                    let end = min(next + 1_000, population.customers)
                    var request = ImportCustomersRequest()
                    request.firstRow = UInt64(next)
                    request.rows = (next..<end).map { number in
                        .with {
                            $0.customerID = population.id(number)
                            $0.attributes = [
                                "daily_spend": .with { $0.doubleValue = population.dailySpend(number) }
                            ]
                        }
                    }
                    try await call.requests.write(request)
                    next = end
                } else {
                    guard let answer = try await answers.next(isolation: #isolation) else {
                        throw LoadFailure("the server ended the import after \(done) rows")
                    }
                    guard answer.counts.rejected == 0 else {
                        throw LoadFailure(
                            "the server refused rows: \(answer.rejections.first?.description_p ?? "")"
                        )
                    }
                    done = Int(answer.rowsDone)
                }
            }
            call.requests.finish()
            while try await answers.next(isolation: #isolation) != nil {}
        }
    }
}
