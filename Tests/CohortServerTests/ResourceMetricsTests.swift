import Foundation
import MetricsTestKit
import Testing

@testable import cohort_server

@Suite("Resource metrics")
struct ResourceMetricsTests {
    @Test("The least limit of all control groups above the process counts")
    func controlGroups() {
        func limit(_ cgroup: String, _ files: [String: String]) -> UInt64? {
            MemoryLimit.inControlGroups(cgroup) { files[$0] }
        }
        let nested = "0::/kubepods/pod7/cohort\n"
        #expect(limit(nested, [:]) == nil)
        #expect(limit(nested, ["/sys/fs/cgroup/kubepods/pod7/cohort/memory.max": "max\n"]) == nil)
        let files = [
            "/sys/fs/cgroup/kubepods/pod7/cohort/memory.max": "max\n",
            "/sys/fs/cgroup/kubepods/pod7/memory.max": "2000\n",
            "/sys/fs/cgroup/kubepods/memory.max": "3000\n",
        ]
        #expect(limit(nested, files) == 2_000)
        // Inside of a container its own group is the root.
        #expect(limit("0::/\n", ["/sys/fs/cgroup/memory.max": "4096\n"]) == 4_096)
        let old = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"
        #expect(limit(old, ["/sys/fs/cgroup/memory/memory.limit_in_bytes": "1024\n"]) == 1_024)
    }

    @Test("The soft limit on open files is read")
    func descriptors() {
        let limits = """
            Limit                     Soft Limit           Hard Limit           Units
            Max processes             63704                63704                processes
            Max open files            1024                 524288               files
            """
        #expect(ResourceMetrics.descriptors(inLimits: limits) == 1_024)
        #expect(ResourceMetrics.descriptors(inLimits: "Max open files            unlimited   unlimited   files") == nil)
    }

    @Test("This machine has memory and descriptors")
    func machine() throws {
        let metrics = TestMetrics()
        let resources = ResourceMetrics(factory: metrics)
        resources.update()
        func value(_ name: String) throws -> Double { try #require(try metrics.expectGauge(name).lastValue) }
        #expect(try value("process.memory.limit") > 1e7)
        #expect(try value("process.cpu.available") >= 1)
        #expect(try value("process.file_descriptors.limit") >= 64)
    }
}
