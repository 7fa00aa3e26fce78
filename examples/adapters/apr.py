"""An APR pool (libapr1) as a heap: `kmemspec validate heap examples/adapters/apr.py:Pool`.

A pool frees no block alone, so free does nothing here, and nothing is given back before the pool is cleared. Blocks of
no bytes are where the next one will be; declared as undefined, since APR does not say.
"""

import ctypes

apr = ctypes.CDLL("libapr-1.so.0")
apr.apr_palloc.restype = ctypes.c_void_p
apr.apr_palloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
apr.apr_initialize()


class Pool:
    """One pool, and every block that was ever allocated from it."""

    declares = {"memory": True, "alignment": 8, "zero_size": "undefined"}  # noqa: RUF012

    def __init__(self):
        self.pool = ctypes.c_void_p()
        if apr.apr_pool_create_ex(ctypes.byref(self.pool), None, None, None):
            raise MemoryError("there is no pool")

    def malloc(self, size):
        return apr.apr_palloc(self.pool, size)

    def free(self, address):
        pass
