"""Asks the processor for memory before it is needed.

A fold touches a dozen lines of memory a row, of a dozen arrays: more streams than processors
foresee by themselves. Asking some rows ahead made it three times as fast where the state of a
partition is larger than the second cache (`docs/decisions/005-speed-of-the-streams.md`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE, _INT = ir.IntType(8), ir.IntType(32)
_WRITE, _KEEP, _DATA = (ir.Constant(_INT, n) for n in (1, 3, 1))


@intrinsic
def prefetch(_: Any, array: Any, at: Any) -> Any:  # noqa: ARG001 - numba goes by the names
    """In compiled code: have the line come that item `at` of an array is in; never faults."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT])
        call = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE.as_pointer()], kind)
        builder.call(call, [pointer, _WRITE, _KEEP, _DATA])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit
