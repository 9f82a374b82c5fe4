import Testing

@testable import CohortSQLite
