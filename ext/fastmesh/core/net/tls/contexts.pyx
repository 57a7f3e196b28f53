"""See contexts.pxd."""
from weakref import WeakValueDictionary

from fastmesh.core.net.tls.client cimport ClientContexts
from fastmesh.core.net.tls.material cimport digest_of_credential, load_credential
from fastmesh.core.net.tls.server cimport ServerContexts


cdef class TlsContexts:
    def __cinit__(self):
        self._credentials = WeakValueDictionary()
        self._server = ServerContexts()
        self._client = ClientContexts()

    def __call__(self, str kind, dict plan, credentials, names):
        if kind == "credential":
            digest = digest_of_credential(plan)
            credential = self._credentials.get(digest)
            if credential is None:
                credential = self._credentials[digest] = load_credential(plan)
            return credential
        if kind == "server":
            return self._server.make(plan, credentials, names)
        return self._client.make(plan, credentials)
