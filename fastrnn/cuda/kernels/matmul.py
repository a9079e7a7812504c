"""The kernel of batched products C = act(A B + bias).

One source serves every size and transpose. A block computes a tile of C of one product, or of a few
small ones. It walks along K in slabs: a slab of A and one of B lie in shared memory, both with k
as their slow axis, while the next ones are on their way from device memory into registers. Each
thread keeps m x n sums in registers, and so takes m + n numbers from shared memory for m n
multiplications.

Small products have little work for each block, and what is computed beside it, places above all,
takes as long as the multiplications. So there are two ways. Where a block's matrices are whole, as
all are whose sizes are multiples of the tile's, a thread knows its places before the first slab,
and adds a constant to them for each one. Edges, and rows that begin at odd places, take the way on
which everything is asked for.

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
    rows_shift, columns_shift, depth_shift = (
        size.bit_length() - 1 for size in (rows, columns, depth)  # all are powers of two
    )
    # The numbers of one k are on their way while another's are used; not of doubles, for they are
    # too large.
    at_once = 2 if width == 4 else 1
    # Whether rows are written without a loop. Slabs of eight products leave no register for that.
    unrolled = width == 4 and products <= 2
    # Whether there is a way for whole matrices. Large tiles of doubles have no register for it.
    quick = width == 4 or c_part <= 16
    activate = by_number(dtype)
    write_row, write_rows, write_whole = _writing(tile, width)
    fetch_a, start_a, take_a, place_a, lay_a = _slabs(rows, depth, threads, width, zero)
    fetch_b, start_b, take_b, place_b, lay_b = _slabs(columns, depth, threads, width, zero)

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

    @device_function
    def multiply_slab(a_slabs, a_from, b_slabs, b_from, sums):
        for q in range(0, depth, at_once):
            multiply(a_slabs, a_from + q * a_row, b_slabs, b_from + q * b_row, sums)
            if at_once == 2:
                q += 1
                multiply(a_slabs, a_from + q * a_row, b_slabs, b_from + q * b_row, sums)

    @device_function
    def walk_whole(a, b, product, row0, column0, K, thread, place, a_slabs, b_slabs, sums):
        """All slabs of matrices that fill their tiles."""
        a_next = cuda.local.array(a_part, number, ALIGNMENT)
        b_next = cuda.local.array(b_part, number, ALIGNMENT)
        a_at, a_apart, a_step = start_a(a, product, row0, thread)
        b_at, b_apart, b_step = start_b(b, product, column0, thread)
        a_base, b_base = place * (2 * a_slab), place * (2 * b_slab)
        a_to, b_to = a_base + place_a(a, thread), b_base + place_b(b, thread)
        a_from = a_base + thread // threads_across * width
        b_from = b_base + thread % threads_across * width
        take_a(a, a_at, a_apart, a_next)
        take_b(b, b_at, b_apart, b_next)
        lay_a(a, a_next, a_slabs, a_to)
        lay_b(b, b_next, b_slabs, b_to)
        cuda.syncthreads()
        here = 0  # which of the two slabs is multiplied
        for left in range((K >> depth_shift) - 1, -1, -1):
            if left:
                a_at += a_step
                b_at += b_step
                take_a(a, a_at, a_apart, a_next)
                take_b(b, b_at, b_apart, b_next)
            multiply_slab(a_slabs, a_from + here * a_slab, b_slabs, b_from + here * b_slab, sums)
            here = 1 - here
            if left:
                lay_a(a, a_next, a_slabs, a_to + here * a_slab)
                lay_b(b, b_next, b_slabs, b_to + here * b_slab)
                cuda.syncthreads()

    @device_function
    def walk(a, b, product, batch, row0, M, column0, N, K, thread, place, a_slabs, b_slabs, sums):
        """All slabs of any matrices."""
        row_end, column_end = ends(product, batch, M, N)
        a_next = cuda.local.array(a_part, number, ALIGNMENT)
        b_next = cuda.local.array(b_part, number, ALIGNMENT)
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
                multiply_slab(a_slabs, a_from, b_slabs, b_from, sums)
            if s < steps:
                lay_a(a, a_next, a_slabs, a_at + place_a(a, thread))
                lay_b(b, b_next, b_slabs, b_at + place_b(b, thread))
            cuda.syncthreads()

    @kernel(threads * products, resident, writes="c")
    def matmul(a, b, bias, c, batch, M, N, K, activation):
        a_slabs = cuda.shared.array(a_shared, number, ALIGNMENT)
        b_slabs = cuda.shared.array(b_shared, number, ALIGNMENT)
        bias_of = cuda.local.array(n, number, ALIGNMENT)
        sums = cuda.local.array(c_part, number, ALIGNMENT)
        for i in range(c_part):
            sums[i] = zero

        # Masks say that there is no sign, for which each division would ask.
        thread, place = cuda.threadIdx.x & (threads - 1), cuda.threadIdx.y & (products - 1)
        tiles_across = (N + columns - 1) >> columns_shift
        tiles = ((M + rows - 1) >> rows_shift) * tiles_across
        first, row0, column0 = cuda.blockIdx.x * products, 0, 0
        if tiles > 1:  # a division takes as long as a third of a small product
            within = cuda.blockIdx.x % tiles
            first = cuda.blockIdx.x // tiles * products
            row0, column0 = within // tiles_across * rows, within % tiles_across * columns
        product = first + place
        # The same for all threads of a block, who wait for each other.
        whole = (
            quick and first + products <= batch and row0 + rows <= M and column0 + columns <= N
            and K > 0 and K & (depth - 1) == 0
        )
        if whole and a.wide and b.wide:
            walk_whole(a, b, product, row0, column0, K, thread, place, a_slabs, b_slabs, sums)
        else:
            walk(a, b, product, batch, row0, M, column0, N, K, thread, place, a_slabs, b_slabs,
                 sums)

        x0 = column0 + thread % threads_across * width
        y0 = row0 + thread // threads_across * width
        row_end, column_end = ends(product, batch, M, N)
        if bias.present or not unrolled:
            for j in range(n):
                x = x0 + j // width * n_stride + j % width
                given = bias.present and x < column_end
                bias_of[j] = bias.array[product * bias.step + x] if given else zero
        if unrolled and bias.present:
            for i in range(m):
                for j in range(n):
                    sums[i * n + j] += bias_of[j]
        if unrolled and activation == LINEAR and whole and c.wide:
            write_whole(c, product * c.step + y0 * c.ld + x0, sums)
        elif unrolled and activation == LINEAR:
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


@device_function
def ends(product, batch, M, N):
    """Where rows and columns of a product end. The last block may have fewer products than places
    for them: those read and write nothing."""
    return M if product < batch else 0, N if product < batch else 0


def _writing(tile, width):
    """The device functions that write one row of a thread's sums, and all of them.

    ``write_row(c, product, x0, y, column_end, row_end, sums, start)`` those from ``start`` on;
    ``write_rows(c, product, x0, y0, column_end, row_end, sums)`` is unrolled, without what a loop
    with an activation must do: in small products that takes as long as to multiply.
    ``write_whole(c, at, sums)`` those of a tile without edges, from ``c.array[at]`` on.
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

    def whole_from(i):
        rest = whole_from(i + 1) if i + 1 < m else _write_no_more

        @device_function
        def write(c, at, sums):
            row = at + (i // width * m_stride + i % width) * c.ld
            for g in range(n // width):
                copy_wide(c.array, row + g * n_stride, sums, i * n + g * width)
            rest(c, at, sums)

        return write

    return write_row, rows_from(0), whole_from(0)


@device_function
def _write_nothing(c, product, x0, y0, column_end, row_end, sums):
    pass


@device_function
def _write_no_more(c, at, sums):
    pass


def _slabs(extent, depth, threads, width, zero):
    """The device functions that bring slabs (depth, extent) of A or B into shared memory.

    ``fetch(operand, product, x0, x_end, k0, k_end, thread, part)`` takes the thread's part of any
    slab from device memory into registers, zeros where the matrix ends. Of slabs without edges
    ``take(operand, at, apart, part)`` does, from the place, and with the distances between pieces
    and slabs, that ``start(operand, product, x0, thread)`` gives. ``lay(operand, part, slabs, at)``
    lays it down in shared memory, where ``place(operand, thread)`` is the thread's place.
    """
    pieces = extent * depth // width // threads
    along_k, along_x = depth // width, extent // width
    row = extent + width

    # Pieces of a thread lie so many rows of an operand apart.
    rows_by_k, rows_by_x = threads // along_k, threads // along_x

    @device_function
    def start(operand, product, x0, thread):
        at = product * operand.step
        if operand.k_is_dense:
            at += (x0 + thread // along_k) * operand.ld + thread % along_k * width
            return at, rows_by_k * operand.ld, depth
        at += thread // along_x * operand.ld + x0 + thread % along_x * width
        return at, rows_by_x * operand.ld, depth * operand.ld

    @device_function
    def take(operand, at, apart, part):
        for i in range(pieces):
            copy_wide(part, i * width, operand.array, at + i * apart)

    @device_function
    def place(operand, thread):
        if operand.k_is_dense:
            return thread % along_k * (width * row) + thread // along_k
        return thread // along_x * row + thread % along_x * width

    @device_function
    def lay(operand, part, slabs, at):
        if operand.k_is_dense:
            for i in range(pieces):
                for v in range(width):
                    slabs[np.uint64(at + i * rows_by_k + v * row)] = part[i * width + v]
        else:
            for i in range(pieces):
                copy_wide(slabs, at + i * (rows_by_x * row), part, i * width)

    @device_function
    def fetch(operand, product, x0, x_end, k0, k_end, thread, part):
        if operand.wide and x0 + extent <= x_end and k0 + depth <= k_end:
            at, apart, step = start(operand, product, x0, thread)
            take(operand, at + k0 // depth * step, apart, part)
        else:
            fetch_edge(operand, product, x0, x_end, k0, k_end, thread, part)

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

    return fetch, start, take, place, lay
