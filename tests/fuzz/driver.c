/* The main program of the fuzzer: libFuzzer, with CPython in it, which imports the instrumented modules and hands each
 * input to one function of tests/fuzz/targets.py. An exception there is a finding, as a word of the sanitizers is.
 * Environment: FASTMESH_FUZZ_TARGET names the function; PYTHONPATH leads to everything. */
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

static PyObject *target;

static void fail(const char *what)
{
    PyErr_Print();
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FASTMESH_FUZZ_TARGET");
    (void)argc, (void)argv;
    Py_InitializeEx(0); /* signals stay libFuzzer's */
    PyObject *module = PyImport_ImportModule("tests.fuzz.targets");
    if (module == NULL)
        fail("tests.fuzz.targets cannot be imported");
    PyObject *find = PyObject_GetAttrString(module, "target");
    target = find ? PyObject_CallFunction(find, "s", name ? name : "") : NULL;
    if (target == NULL)
        fail("no such target");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *input = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = input ? PyObject_CallOneArg(target, input) : NULL;
    Py_XDECREF(input);
    if (result == NULL)
        fail("an invariant does not hold");
    Py_DECREF(result);
    return 0;
}
