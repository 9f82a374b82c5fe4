"""Reads requests of OTLP/HTTP as a collector has got them, with OpenTelemetry's own messages for Python.

`decode.py FILE…`: each file is the body of a request, its name ends in `.traces` or `.metrics` and `.gz` where it came
compressed. Prints a line of JSON for each; exits 1 at the first that is not what it says.
"""
import gzip
import pathlib
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

for name in sys.argv[1:]:
    body = pathlib.Path(name).read_bytes()
    if name.endswith(".gz"):
        body = gzip.decompress(body)
        name = name[:-3]
    if name.endswith(".traces"):
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
    else:
        request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
    # Everything that was sent is known to the standard: nothing is left when unknown fields are taken away.
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    if known.ByteSize() != request.ByteSize():
        sys.exit(f"{name} has fields that OTLP does not know")
    print(json_format.MessageToJson(request, indent=None))
