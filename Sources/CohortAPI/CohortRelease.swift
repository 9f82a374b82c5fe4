/// The release that this code belongs to.
public enum CohortRelease {
    /// By semantic versioning, as `0.1.0`.
    public static let version = "0.1.0"
    /// The domain of the google.rpc.ErrorInfo details that the services send.
    public static let errorDomain = "cohort.dev"
}
