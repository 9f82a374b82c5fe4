/// Where the truth is kept.
package protocol Store: Sendable {}
