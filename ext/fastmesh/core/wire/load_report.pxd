"""What an endpoint says of its load, in its answer: an ORCA report (Open Request Cost Aggregation, xds.data.orca.v3.OrcaLoadReport).

It stands in the field `endpoint-load-metrics`, behind the word TEXT, JSON or BIN, or in `endpoint-load-metrics-bin`; in the head or the
trailers. TEXT is `TEXT cpu_utilization=0.3, named_metrics.queue=0.7`. What cannot be read whole counts for nothing, as in Envoy.
"""
from fastmesh.core.wire.message cimport Head

cdef struct LoadReport:
    double application        # utilization as the application sees it; this and the next ones: 0 = not said
    double cpu
    double rps                # requests a second
    double eps                # errors a second
    double named              # the largest of those that are asked for

# `wanted`: names of metrics (bytes) such as b"named_metrics.queue". False: there is no report, or it cannot be read
cdef bint read_load_report(const Head* head, list wanted, LoadReport* report)
