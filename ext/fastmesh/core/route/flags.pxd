"""Why the proxy answered itself, or what befell a request: Envoy's response flags. Policies name them, the access log shows them."""

cdef enum Flag:               # Envoy's response flags
    FLAG_UH = 1               # no healthy upstream
    FLAG_UF = 2               # upstream connection failure
    FLAG_UO = 4               # overflow
    FLAG_NR = 8               # no route
    FLAG_URX = 16             # retry limit reached
    FLAG_NC = 32              # no cluster
    FLAG_UT = 64              # upstream request time-out
    FLAG_UC = 128             # upstream connection termination
    FLAG_LR = 256             # local reset
    FLAG_DC = 512             # downstream disconnected
    FLAG_DI = 1024            # delay injected
    FLAG_FI = 2048            # fault injected
    FLAG_RL = 4096            # rate limited
    FLAG_DPE = 8192           # downstream protocol error
    FLAG_UPE = 16384          # upstream protocol error
    FLAG_SI = 32768           # stream idle time-out
    FLAG_UR = 65536           # upstream reset
    FLAG_DT = 131072          # a connection was too old
    FLAG_FB = 262144          # fastmesh: the breaker of its destination is open, a backup serves
    FLAG_FE = 524288          # filter error (not one of Envoy's)
    FLAG_OM = 1048576         # the proxy is under pressure (Envoy: overload manager)
