// One transformer block, forward and backward, in float32 on one core with AVX-512; kernels.py calls it.
//
// A prompt is worked through from its first norm to its last product while all of it lies in the cache; plain
// PyTorch takes each step for all prompts and waits for memory. L tokens, R of them wanted, width W = 64, H = 4 heads
// of N = 16: a row of a head is one vector. Weights are tiles of 64 × 64: q, k, v, out, then the MLP's panels of 64
// units. Backward recomputes norms and the MLP's units, which is as fast as reading them from memory.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

constexpr long N = 16, W = 64, H = 4, TILE = W * W, U = 8;
typedef float V __attribute__((vector_size(64)));
typedef float VU __attribute__((vector_size(64), aligned(4), may_alias));
typedef int VI __attribute__((vector_size(64)));
typedef const float *In;
typedef float *Out;

static inline V load(In p) { return *(const VU *)p; }
static inline void store(Out p, V x) { *(VU *)p = x; }
static inline void add(Out p, V x) { store(p, load(p) + x); }
static inline V largest(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline float total(V x) { return _mm512_reduce_add_ps((__m512)x); }
static inline long round_up(long n, long to) { return (n + to - 1) / to * to; }

struct Buffer {  // floats for one call, from the start of a line of the cache
    Out at;
    explicit Buffer(long floats) : at((Out)aligned_alloc(64, round_up(floats + 1, N) * sizeof(float))) {}
    Buffer(const Buffer &) = delete;
    ~Buffer() { free(at); }
    operator Out() const { return at; }
};

// ---- functions of 16 numbers
static inline V reciprocal(V x) {  // one step of Newton's; a division takes longer
    V r = (V)_mm512_rcp14_ps((__m512)x);
    return r * (2.f - x * r);
}
static inline V exponential(V x) {  // for x < 88, to 1e-7 of itself; 0 below -87 (so for -inf); of nan nan
    V t = x * 1.44269504f + 12582912.f;  // 1.5 · 2^23: rounds to n, and leaves n in the lowest bits
    V r = x - (t - 12582912.f) * 0.69314718f, p = r * 0.0013814225f + 0.0083689019f;
    p = ((p * r + 0.041668408f) * r + 0.16666520f) * r + 0.49999994f;
    p = (p * r + 1.f) * r + 1.f;  // minimax, to 3e-9
    __mmask16 seen = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.f), _CMP_NLT_UQ);
    return (V)_mm512_maskz_add_epi32(seen, (__m512i)p, _mm512_slli_epi32((__m512i)t, 23));  // p · 2^n
}
// GELU(x) = x s(x) and its slope. Exact: s is the normal distribution's Φ; with tanh: s = σ(1.596 (x + 0.0447 x³)).
template <bool TANH> static inline V gelu(V x, V &slope) {
    V size = (V)_mm512_abs_ps((__m512)x), e, s;
    if constexpr (TANH) {
        e = exponential(-1.5957691216f * (size + 0.044715f * size * size * size));
        V r = reciprocal(e + 1.f);
        s = x < 0.f ? e * r : r;
        slope = s + x * e * r * r * (1.5957691216f + 0.2140643f * x * x);
    } else {  // Φ(-|x|) = exp(-x² / 2) g, g a polynomial in u = (|x| - 3) / (|x| + 3): minimax, to 2e-9
        e = exponential(-0.5f * x * x);
        V u = 1.f - 6.f * reciprocal(size + 3.f), g = u * -7.4676522e-05f - 0.00059869472f;
        g = ((g * u - 0.0011491773f) * u + 0.0028601296f) * u + 0.0061322851f;
        g = ((g * u - 0.046211131f) * u + 0.12322531f) * u - 0.20640261f;
        g = (g * u + 0.12151395f) * e;
        s = x < 0.f ? g : 1.f - g;
        slope = s + x * e * 0.39894228f;
    }
    return x * s;
}
template <bool TANH> static void activate(long n, Out a, Out d) {  // a becomes GELU(a), d its gradient (or null)
    for (long i = 0; i < n; i += N) {
        V slope, y = gelu<TANH>(load(a + i), slope);
        store(a + i, y);
        if (d) store(d + i, load(d + i) * slope);
    }
}

// ---- products of matrices, 64 columns wide
struct From { In at; long row = W, step = 1; };  // element (i, t) at[i row + t step]; a row's vectors are N apart
struct To { Out at; long row = W, step = N; };   // vector v of row i at at[i row + v step]

template <int M> static void tile(long n, From a, From w, To c, From base, In bias) {
    V s[M][4] = {};  // M × 64 sums in registers
    for (long t = 0; t < n; t++) {
        V x[4];
        for (int v = 0; v < 4; v++) x[v] = load(w.at + t * w.row + v * N);
        for (int i = 0; i < M; i++)
            for (int v = 0; v < 4; v++) s[i][v] += a.at[i * a.row + t * a.step] * x[v];
    }
    for (int i = 0; i < M; i++)  // base is added last: rounded once at its size, not n times
        for (int v = 0; v < 4; v++) {
            if (bias) s[i][v] += load(bias + v * N);
            if (base.at) s[i][v] += load(base.at + i * base.row + v * N);
            store(c.at + i * c.row + v * c.step, s[i][v]);
        }
}
// c (m, 64) = a (m, n) w (n, 64) + base (m, 64) + bias (64), the last two if given
static void product(long m, long n, From a, From w, To c, From base = {nullptr}, In bias = nullptr) {
    for (long count; m > 0; m -= count) {
        count = m >= 6 ? 6 : m >= 2 ? 2 : 1;
        (count == 6 ? tile<6> : count == 2 ? tile<2> : tile<1>)(n, a, w, c, base, bias);
        a.at += count * a.row, c.at += count * c.row, base.at += base.at ? count * base.row : 0;
    }
}
// sum (64, 64) += gᵀ x, column (64) += Σ g over m rows: the gradients of a layer's weights and of its bias
static void outer(long m, In g, From x, Out sum, Out column) {
    product(W, m, {g, 1, W}, x, {sum}, {sum});
    V s[4] = {};
    for (long i = 0; i < m; i++)
        for (int v = 0; v < 4; v++) s[v] += load(g + i * W + v * N);
    for (int v = 0; v < 4; v++) add(column + v * N, s[v]);
}
static inline void transpose(V *m) {  // 16 × 16: at distances 1, 2, 4, 8 halves of two rows change places
    for (int far = 1; far < N; far *= 2) {
        VI low, high;
        for (int i = 0; i < N; i++) low[i] = i & far ? N + i - far : i, high[i] = i & far ? N + i : i + far;
        for (int i = 0; i < N; i++)
            if (!(i & far)) {
                __m512 a = (__m512)m[i], b = (__m512)m[i + far];
                m[i] = (V)_mm512_permutex2var_ps(a, (__m512i)low, b);
                m[i + far] = (V)_mm512_permutex2var_ps(a, (__m512i)high, b);
            }
    }
}
static inline void read_rows(long n, In x, long row, V *rows, V *columns) {
    for (int r = 0; r < N; r++) columns[r] = rows[r] = r < n ? load(x + r * row) : V{};
    transpose(columns);
}

// ---- layer norm
static inline float normalise(In x, V *y) {  // y = (x - mean) / σ; returns 1 / σ
    V s = {}, q = {};
    for (int v = 0; v < 4; v++) s += y[v] = load(x + v * N);
    float mean = total(s) / W;
    for (int v = 0; v < 4; v++) y[v] -= mean, q += y[v] * y[v];
    float scale = 1 / sqrtf(total(q) / W + 1e-5f);
    for (int v = 0; v < 4; v++) y[v] *= scale;
    return scale;
}
static void norm(long m, In x, In gain, In bias, Out h) {
    for (long i = 0; i < m; i++) {
        V y[4];
        normalise(x + i * W, y);
        for (int v = 0; v < 4; v++) store(h + i * W + v * N, y[v] * load(gain + v * N) + load(bias + v * N));
    }
}
static void norm_back(long m, In dh, In x, In gain, Out dgain, Out dbias, Out dx) {
    V sum_gain[4] = {}, sum_bias[4] = {};
    for (long i = 0; i < m; i++) {
        V y[4], g[4], s = {}, q = {};
        float scale = normalise(x + i * W, y);
        for (int v = 0; v < 4; v++) {
            V d = load(dh + i * W + v * N);
            sum_gain[v] += d * y[v], sum_bias[v] += d;
            g[v] = d * load(gain + v * N), s += g[v], q += g[v] * y[v];
        }
        float a = total(s) / W, b = total(q) / W;
        for (int v = 0; v < 4; v++) store(dx + i * W + v * N, (g[v] - a - y[v] * b) * scale);
    }
    for (int v = 0; v < 4; v++) add(dgain + v * N, sum_gain[v]), add(dbias + v * N, sum_bias[v]);
}

// ---- attention: 16 wanted rows at a time, lane r of a vector of scores is row r
struct Call {  // as kernels.py fills it; keys: L rounded up to 8, the keys behind the last token zero and hidden
    long B, L, R, first, step, keys, blocks, bias_heads, panels, in_residual, tanh, saved_each;
    const long *ends;  // (bias_heads, blocks of 16 rows): the keys before this one, a multiple of 8, are looked at
    In bias, w, wt, vectors, x;  // bias (bias_heads, blocks, keys, 16); tiles (out, in) and (in, out)
    Out saved, y;
    In dy;
    Out dx, dw, dvectors;
    In vector(long i) const { return vectors + i * W; }  // biases of q, k, v, out, panels, mlp_out; norms
};
struct Saved {  // what backward needs of prompt i: q, k, v by head; for each row its top score and 1 / sum
    Out q, k, v, mixed, attended, tops, end;
    Saved(const Call &c, long i)
        : q(c.saved + i * c.saved_each), k(q + c.R * W), v(k + c.keys * W), mixed(v + c.keys * W),
          attended(mixed + c.R * W), tops(attended + c.R * W), end(tops + c.blocks * N * 2 * H) {}
};
struct Part {  // 16 rows of one head, n of them there
    long row, n, keys;
    In q, k, v, bias;
    Out tops;
    Part(const Saved &s, const Call &c, long h, long block) : row(block * N), n(std::min(c.R - row, N)) {
        long at = (c.bias_heads > 1 ? h : 0) * c.blocks + block;
        keys = c.ends[at], bias = c.bias + at * c.keys * N, tops = s.tops + (h * c.blocks + block) * 2 * N;
        q = s.q + (h * c.R + row) * N, k = s.k + h * c.keys * N, v = s.v + h * c.keys * N;
    }
};
// finish(j, Σ_t a[j, t] x[t]) for n rows, a multiple of 8; 16 wide
template <class F> static inline void by_columns(long n, In a, const V *x, F finish) {
    for (long j = 0; j < n; j += U) {
        V s[U] = {};
#pragma GCC unroll 16
        for (int t = 0; t < N; t++)
            for (int u = 0; u < U; u++) s[u] += a[(j + u) * N + t] * x[t];
        for (int u = 0; u < U; u++) finish(j + u, s[u]);
    }
}
// c[r] = Σ_j a[j, r] x[j] over n; 16 wide
static inline void by_rows(long n, In a, In x, V *c) {
    V s[N] = {};
    for (long j = 0; j < n; j++)
        for (int r = 0; r < N; r++) s[r] += a[j * N + r] * load(x + j * N);
    for (int r = 0; r < N; r++) c[r] = s[r];
}
static void attention(const Saved &s, const Call &c, Out S) {
    for (long h = 0; h < H; h++)
        for (long block = 0; block < c.blocks; block++) {
            Part p(s, c, h, block);
            V rows[N], columns[N], top = V{} - INFINITY, sum = {};
            read_rows(p.n, p.q, N, rows, columns);
            for (int d = 0; d < N; d++) columns[d] *= 0.25f;  // 1 / √16
            by_columns(p.keys, p.k, columns, [&](long j, V x) {
                store(S + j * N, x += load(p.bias + j * N));
                top = largest(top, x);
            });
            top = top == -INFINITY ? V{} : top;  // rows that are not there, or see nothing
            for (long j = 0; j < p.keys; j++) {
                V x = exponential(load(S + j * N) - top);
                store(S + j * N, x);
                sum += x;
            }
            V inverse = sum == 0.f ? V{} : 1.f / sum;
            store(p.tops, top), store(p.tops + N, inverse);
            by_rows(p.keys, S, p.v, rows);
            for (int r = 0; r < p.n; r++) store(s.mixed + (p.row + r) * W + h * N, rows[r] * inverse[r]);
        }
}
// g: gradient of what attention mixed; dq (R, 64), dk, dv (keys, 64)
static void attention_back(In g, const Saved &s, const Call &c, Out dq, Out dk, Out dv) {
    Buffer P(c.keys * N), dS(c.keys * N);
    std::fill(dk, dk + c.keys * W, 0.f), std::fill(dv, dv + c.keys * W, 0.f);
    for (long h = 0; h < H; h++)
        for (long block = 0; block < c.blocks; block++) {
            Part p(s, c, h, block);
            V rows[N], columns[N], d_rows[N], d_columns[N], slope[N], mean = {};
            V top = load(p.tops), inverse = load(p.tops + N);
            read_rows(p.n, p.q, N, rows, columns);
            read_rows(p.n, g + p.row * W + h * N, W, d_rows, d_columns);
            read_rows(p.n, s.mixed + p.row * W + h * N, W, slope, slope);
            for (int d = 0; d < N; d++) mean += slope[d] * d_columns[d];  // Σ_j P_j dP_j, by row
            for (int d = 0; d < N; d++) columns[d] *= 0.25f, rows[d] *= 0.25f;
            by_columns(p.keys, p.k, columns, [&](long j, V x) {
                store(P + j * N, exponential(x + load(p.bias + j * N) - top) * inverse);
            });
            by_columns(p.keys, p.v, d_columns, [&](long j, V d) { store(dS + j * N, load(P + j * N) * (d - mean)); });
            by_columns(p.keys, P, d_rows, [&](long j, V d) { add(dv + j * W + h * N, d); });
            by_columns(p.keys, dS, rows, [&](long j, V d) { add(dk + j * W + h * N, d); });
            by_rows(p.keys, dS, p.k, d_rows);
            for (int r = 0; r < p.n; r++) store(dq + (p.row + r) * W + h * N, 0.25f * d_rows[r]);
        }
}

// ---- the block
extern "C" long block_saves(const Call &c) { return Saved(c, 0).end - c.saved; }

// x (B, L, 64) -> y (B, R, 64)
extern "C" void block_forward(const Call &c) {
    const long L = c.L, R = c.R, n = c.panels;
    Buffer h(L * W), a(R * W), S(c.keys * N);
    for (long i = 0; i < c.B; i++) {
        Saved s(c, i);
        In x = c.x + i * L * W;
        Out y = c.y + i * R * W;
        From own{x + c.first * W, c.step * W}, none{nullptr};
        norm(L, x, c.vector(5 + n), c.vector(6 + n), h);
        product(R, W, {h + c.first * W, own.row}, {c.wt}, {s.q, N, R * N}, none, c.vector(0));
        product(L, W, {h}, {c.wt + TILE}, {s.k, N, c.keys * N}, none, c.vector(1));
        product(L, W, {h}, {c.wt + 2 * TILE}, {s.v, N, c.keys * N}, none, c.vector(2));
        for (long j = 0; j < H * c.keys; j++)
            if (j % c.keys >= L) store(s.k + j * N, V{}), store(s.v + j * N, V{});
        attention(s, c, S);
        product(R, W, {s.mixed}, {c.wt + 3 * TILE}, {s.attended}, own, c.vector(3));
        norm(R, s.attended, c.vector(7 + n), c.vector(8 + n), h);
        for (long k = 0; k < n; k++) {
            product(R, W, {h}, {c.wt + (4 + k) * TILE}, {a}, none, c.vector(4 + k));
            (c.tanh ? activate<true> : activate<false>)(R * W, a, nullptr);
            From base = k ? From{y} : c.in_residual ? From{s.attended} : own;
            product(R, W, {a}, {c.wt + (4 + n + k) * TILE}, {y}, base, k ? nullptr : c.vector(4 + n));
        }
    }
}
// dy (B, R, 64) -> dx (B, L, 64); adds to dw, dvectors
extern "C" void block_backward(const Call &c) {
    const long L = c.L, R = c.R, n = c.panels;
    Buffer h(L * W), dh(L * W), a(R * W), d(R * W), da(R * W), dq(R * W), dk(c.keys * W), dv(c.keys * W), unused(W);
    auto dw = [&](long k) { return c.dw + k * TILE; };
    auto dvector = [&](long k) { return c.dvectors + k * W; };
    for (long i = 0; i < c.B; i++) {
        Saved s(c, i);
        In x = c.x + i * L * W, dy = c.dy + i * R * W;
        Out dx = c.dx + i * L * W;
        norm(R, s.attended, c.vector(7 + n), c.vector(8 + n), h);
        for (long k = 0; k < n; k++) {
            product(R, W, {h}, {c.wt + (4 + k) * TILE}, {a}, {nullptr}, c.vector(4 + k));
            product(R, W, {dy}, {c.w + (4 + n + k) * TILE}, {d});
            (c.tanh ? activate<true> : activate<false>)(R * W, a, d);
            outer(R, dy, {a}, dw(4 + n + k), k ? unused.at : dvector(4 + n));
            outer(R, d, {h}, dw(4 + k), dvector(4 + k));
            product(R, W, {d}, {c.w + (4 + k) * TILE}, {dh}, {k ? dh.at : nullptr});
        }
        norm_back(R, dh, s.attended, c.vector(7 + n), dvector(7 + n), dvector(8 + n), da);
        for (long j = 0; c.in_residual && j < R * W; j += N) add(da + j, load(dy + j));
        outer(R, da, {s.mixed}, dw(3), dvector(3));
        product(R, W, {da}, {c.w + 3 * TILE}, {d});
        attention_back(d, s, c, dq, dk, dv);
        From own{h + c.first * W, c.step * W}, none{nullptr}, sum{dh};
        norm(L, x, c.vector(5 + n), c.vector(6 + n), h);
        outer(R, dq, own, dw(0), dvector(0));
        outer(L, dk, {h}, dw(1), dvector(1));
        outer(L, dv, {h}, dw(2), dvector(2));
        product(L, W, {dk}, {c.w + TILE}, {dh}, none);
        product(L, W, {dv}, {c.w + 2 * TILE}, {dh}, sum);
        product(R, W, {dq}, {c.w}, {dh + c.first * W, own.row}, {dh + c.first * W, own.row});
        norm_back(L, dh, x, c.vector(5 + n), dvector(5 + n), dvector(6 + n), dx);
        for (long j = 0; j < R * W; j += N) {  // what went round attention, and, where that is not in it, round both
            V direct = load(da + j) + (c.in_residual ? V{} : load(dy + j));
            add(dx + (c.first + j / W * c.step) * W + j % W, direct);
        }
    }
}
