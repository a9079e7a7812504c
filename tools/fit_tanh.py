"""Fit the rational functions behind the kernels' tanh; prints C initialisers.

tanh(x) = x P(x^2) / Q(x^2) in single precision, over the whole range where tanh(x) != 1, and
tanh(x) = x + x s P(s) / Q(s), s = x^2, for |x| < 0.625 in double precision (larger |x| go
through exp).
The fit minimises the largest relative error: a linearised least-squares problem (Sanathanan and
Koerner, 1963), its weights raised where the error is large (Lawson, 1961).

Run ``python tools/fit_tanh.py`` (needs mpmath).
"""

import mpmath as mp

mp.mp.dps = 60


def fit(f, low, high, p_degree, q_degree, nodes=120, rounds=40):
    """Coefficients (p, q), q[0] = 1, of p(s)/q(s) closest to f on [low, high], relatively."""
    middle, half = (low + high) / 2, (high - low) / 2
    s = [middle + half * mp.cos(mp.pi * (i + 0.5) / nodes) for i in range(nodes)]
    y = [f(v) for v in s]
    lawson, q_before = [mp.mpf(1)] * nodes, [mp.mpf(1)] * nodes
    best = None
    for _ in range(rounds):
        A, b = mp.matrix(nodes, p_degree + q_degree + 1), mp.matrix(nodes, 1)
        for i in range(nodes):
            w = mp.sqrt(lawson[i]) / (q_before[i] * abs(y[i]))
            for k in range(p_degree + 1):
                A[i, k] = w * s[i] ** k
            for k in range(1, q_degree + 1):
                A[i, p_degree + k] = -w * y[i] * s[i] ** k
            b[i] = w * y[i]
        c = mp.qr_solve(A, b)[0]
        p, q = list(c)[: p_degree + 1], [mp.mpf(1), *list(c)[p_degree + 1 :]]
        q_before = [mp.polyval(q[::-1], v) for v in s]
        numerator = [mp.polyval(p[::-1], v) for v in s]
        error = [abs(n / d / t - 1) for n, d, t in zip(numerator, q_before, y, strict=True)]
        if best is None or max(error) < best[0]:
            best = max(error), p, q
        total = sum(e * w for e, w in zip(error, lawson, strict=True))
        lawson = [max(w * e / total * nodes, mp.mpf("1e-12"))
                  for e, w in zip(error, lawson, strict=True)]
    return best


def show(name, result):
    error, p, q = result
    print(f"/* {name}: relative error {mp.nstr(error, 3)} */")
    print("P", ", ".join(mp.nstr(c, 20) for c in p))
    print("Q", ", ".join(mp.nstr(c, 20) for c in q))


def tanh_over_x(s):
    x = mp.sqrt(s)
    return mp.tanh(x) / x if s else mp.mpf(1)


def small_tanh(s):
    x = mp.sqrt(s)
    return (mp.tanh(x) / x - 1) / s if s > mp.mpf(10) ** -20 else -mp.mpf(1) / 3


if __name__ == "__main__":
    show("single, |x| <= 9.02", fit(tanh_over_x, mp.mpf(0), mp.mpf("9.02") ** 2, 4, 4))
    show("double, |x| <= 0.625", fit(small_tanh, mp.mpf(0), mp.mpf("0.625") ** 2, 2, 3))
