"""The kernel of batched products C = act(A B + bias).

One source serves every size and transpose. A block computes a tile of C of one product, or of a few
small ones. It walks along K in slabs: a slab of A and one of B lie in shared memory, both with k
as their slow axis, while the next ones are on their way from device memory into registers. Each
thread keeps m x n sums in registers, and so takes m + n numbers from shared memory for m n
multiplications.

Every sum runs over k in ascending order. So a product does not depend on the tile, nor on what
else is in the batch.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.activations import ACTIVATIONS, by_number
from fastrnn.cuda.kernels.target import ALIGNMENT, copy_wide, device_function, kernel
from fastrnn.cuda.tiles import WIDE

__all__ = ["Bias", "Operand", "matmul_kernel"]

LINEAR = ACTIVATIONS.index("linear")


class Operand(NamedTuple):
    """One matrix for each product, as a flat array.

    Element (i, j) of product p is ``array[p * step + i * ld + j]``. In A and B the axis that lies
    dense in memory is either k or the other one.
    """

    array: Any
    step: int  # 0: all products share one matrix
    ld: int
    k_is_dense: bool
    wide: bool  # every row begins at a multiple of 16 bytes


class Bias(NamedTuple):
    """One row for each product, added to all rows of C."""

    array: Any
    step: int  # 0: all products share one row
    present: bool


@functools.cache
def matmul_kernel(tile, dtype):
    """The kernel for a tile and a float type.

    ``kernel[blocks, (tile.threads, tile.products)](a, b, bias, c, batch, M, N, K, activation)``:
    a, b, c `Operand`, bias `Bias`; c is written, and none of the others may overlap it.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    width = WIDE // np.dtype(dtype).itemsize
    rows, columns, depth, m, n, products, resident = tile
    threads = tile.threads
    threads_across = columns // n
    # Rows in shared memory keep a distance that spreads the columns of a slab over the banks.
    a_row, b_row = rows + width, columns + width
    a_slab, b_slab = depth * a_row, depth * b_row
    a_shared, b_shared = products * 2 * a_slab, products * 2 * b_slab
    a_part, b_part, c_part = rows * depth // threads, columns * depth // threads, m * n
    # A thread's rows come in groups of as many as one wide load brings; so do its columns. Groups
    # lie far apart, so that the threads of a warp read from shared memory side by side.
    m_stride, n_stride = rows // (m // width), columns // (n // width)
    rest = (m - 1) * n
    # The numbers of one k are on their way while another's are used; not of doubles, for they are
    # too large.
    at_once = 2 if width == 4 else 1
    # Whether rows are written without a loop. Slabs of eight products leave no register for that.
    unrolled = width == 4 and products <= 2
    activate = by_number(dtype)
    write_row, write_rows = _writing(tile, width)
    fetch_a, put_a = _slabs(rows, depth, threads, width, zero)
    fetch_b, put_b = _slabs(columns, depth, threads, width, zero)

    @device_function
    def multiply(a_slabs, a_from, b_slabs, b_from, sums):
        left = cuda.local.array(m, number, ALIGNMENT)
        right = cuda.local.array(n, number, ALIGNMENT)
        for g in range(m // width):
            copy_wide(left, g * width, a_slabs, a_from + g * m_stride)
        for g in range(n // width):
            copy_wide(right, g * width, b_slabs, b_from + g * n_stride)
        for i in range(m):
            for j in range(n):
                sums[i * n + j] += left[i] * right[j]

    @kernel(threads * products, resident, writes="c")
    def matmul(a, b, bias, c, batch, M, N, K, activation):
        a_slabs = cuda.shared.array(a_shared, number, ALIGNMENT)
        b_slabs = cuda.shared.array(b_shared, number, ALIGNMENT)
        a_next = cuda.local.array(a_part, number, ALIGNMENT)
        b_next = cuda.local.array(b_part, number, ALIGNMENT)
        bias_of = cuda.local.array(n, number, ALIGNMENT)
        sums = cuda.local.array(c_part, number, ALIGNMENT)
        for i in range(c_part):
            sums[i] = zero

        thread, place = cuda.threadIdx.x, cuda.threadIdx.y
        tiles_across = (N + columns - 1) // columns
        tiles = (M + rows - 1) // rows * tiles_across
        product = cuda.blockIdx.x // tiles * products + place
        within = cuda.blockIdx.x % tiles
        row0, column0 = within // tiles_across * rows, within % tiles_across * columns
        # The last block may have fewer products than places for them: those read and write nothing.
        row_end = M if product < batch else 0
        column_end = N if product < batch else 0
        row, column = thread // threads_across * width, thread % threads_across * width

        steps = (K + depth - 1) // depth
        for s in range(steps + 1):
            k = s * depth
            a_at = (place * 2 + s % 2) * a_slab
            b_at = (place * 2 + s % 2) * b_slab
            if s < steps:
                fetch_a(a, product, row0, row_end, k, K, thread, a_next)
                fetch_b(b, product, column0, column_end, k, K, thread, b_next)
            if s > 0:
                a_from = (place * 2 + (s - 1) % 2) * a_slab + row
                b_from = (place * 2 + (s - 1) % 2) * b_slab + column
                for q in range(0, depth, at_once):
                    multiply(a_slabs, a_from + q * a_row, b_slabs, b_from + q * b_row, sums)
                    if at_once == 2:
                        q += 1
                        multiply(a_slabs, a_from + q * a_row, b_slabs, b_from + q * b_row, sums)
            if s < steps:
                put_a(a_next, a.k_is_dense, thread, a_slabs, a_at)
                put_b(b_next, b.k_is_dense, thread, b_slabs, b_at)
            cuda.syncthreads()

        x0, y0 = column0 + column, row0 + row
        if bias.present or not unrolled:
            for j in range(n):
                x = x0 + j // width * n_stride + j % width
                given = bias.present and x < column_end
                bias_of[j] = bias.array[product * bias.step + x] if given else zero
        if unrolled and bias.present:
            for i in range(m):
                for j in range(n):
                    sums[i * n + j] += bias_of[j]
        if unrolled and activation == LINEAR:
            write_rows(c, product, x0, y0, column_end, row_end, sums)
        else:
            for i in range(m):
                for v in range(n):
                    z = sums[v] if unrolled else sums[v] + bias_of[v]
                    sums[v] = activate(activation, z)
                y = y0 + i // width * m_stride + i % width
                write_row(c, product, x0, y, column_end, row_end, sums, 0)
                # Registers have no index: the next row of sums moves to where this one was.
                for j in range(rest):
                    sums[j] = sums[j + n]

    return matmul


def _writing(tile, width):
    """The device functions that write one row of a thread's sums, and all of them.

    ``write_row(c, product, x0, y, column_end, row_end, sums, start)`` those from ``start`` on;
    ``write_rows(c, product, x0, y0, column_end, row_end, sums)`` is unrolled, without what a loop
    with an activation must do: in small products that takes as long as to multiply.
    """
    m, n = tile.m, tile.n
    m_stride, n_stride = tile.rows // (m // width), tile.columns // (n // width)

    @device_function
    def write_row(c, product, x0, y, column_end, row_end, sums, start):
        if y < row_end:
            for g in range(n // width):
                x = x0 + g * n_stride
                at = product * c.step + y * c.ld + x
                if c.wide and x + width <= column_end:
                    copy_wide(c.array, at, sums, start + g * width)
                else:
                    for v in range(width):
                        if x + v < column_end:
                            c.array[at + v] = sums[start + g * width + v]

    def rows_from(i):
        rest = rows_from(i + 1) if i + 1 < m else _write_nothing

        @device_function
        def write(c, product, x0, y0, column_end, row_end, sums):
            y = y0 + i // width * m_stride + i % width
            write_row(c, product, x0, y, column_end, row_end, sums, i * n)
            rest(c, product, x0, y0, column_end, row_end, sums)

        return write

    return write_row, rows_from(0)


@device_function
def _write_nothing(c, product, x0, y0, column_end, row_end, sums):
    pass


def _slabs(extent, depth, threads, width, zero):
    """The two device functions that bring a slab (depth, extent) of A or B into shared memory.

    ``fetch`` takes the thread's part from device memory into registers, zeros where the matrix
    ends; ``put`` lays it down in shared memory.
    """
    pieces = extent * depth // width // threads
    along_k, along_x = depth // width, extent // width
    row = extent + width

    # Pieces of a thread lie so many rows of an operand apart.
    rows_by_k, rows_by_x = threads // along_k, threads // along_x

    @device_function
    def fetch(operand, product, x0, x_end, k0, k_end, thread, part):
        if operand.wide and x0 + extent <= x_end and k0 + depth <= k_end:
            fetch_whole(operand, product, x0, k0, thread, part)
        else:
            fetch_edge(operand, product, x0, x_end, k0, k_end, thread, part)

    @device_function
    def fetch_whole(operand, product, x0, k0, thread, part):
        if operand.k_is_dense:
            row, column = x0 + thread // along_k, k0 + thread % along_k * width
            apart = rows_by_k * operand.ld
        else:
            row, column = k0 + thread // along_x, x0 + thread % along_x * width
            apart = rows_by_x * operand.ld
        at = product * operand.step + row * operand.ld + column
        for i in range(pieces):
            copy_wide(part, i * width, operand.array, at + i * apart)

    @device_function
    def fetch_edge(operand, product, x0, x_end, k0, k_end, thread, part):
        for i in range(pieces):
            piece = thread + i * threads
            at = product * operand.step
            if operand.k_is_dense:
                k, x = k0 + piece % along_k * width, x0 + piece // along_k
                at += x * operand.ld + k
                left = k_end - k if x < x_end else 0
            else:
                k, x = k0 + piece // along_x, x0 + piece % along_x * width
                at += k * operand.ld + x
                left = x_end - x if k < k_end else 0
            if operand.wide and left >= width:
                copy_wide(part, i * width, operand.array, at)
            else:
                for v in range(width):
                    part[i * width + v] = operand.array[at + v] if v < left else zero

    @device_function
    def put(part, k_is_dense, thread, slabs, start):
        for i in range(pieces):
            piece = thread + i * threads
            if k_is_dense:
                at = start + piece % along_k * width * row + piece // along_k
                for v in range(width):
                    slabs[at + v * row] = part[i * width + v]
            else:
                copy_wide(slabs, start + piece // along_x * row + piece % along_x * width,
                          part, i * width)

    return fetch, put
