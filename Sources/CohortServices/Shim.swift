import CohortCore

extension MemberCount { var cohortVersion: UInt32 { 0 } }
extension MemberSnapshot { var cohortVersion: UInt32 { 0 } }
extension Engine { func cohort(_ id: String) throws(DomainError) -> CohortView { throw .internal(message: "x") } }
