#include "instructions.h"

#include <cfenv>
#include <cmath>
#include <limits>
#include <type_traits>
#include <unordered_map>

#include "warp.h"

namespace {

template <class T> constexpr Storage storage_of() {
    return std::is_same_v<T, bool> ? Storage::predicate : sizeof(T) == 8 ? Storage::pair : Storage::word;
}

// Numbers of 8 and 16 bits are kept in 32.
template <class T> using Kept = std::conditional_t<sizeof(T) < 4, uint32_t, T>;

template <class T> T read(Warp& warp, int32_t place, int lane) {
    if constexpr (std::is_same_v<T, bool>)
        return warp.predicate(place) >> lane & 1;
    else
        return static_cast<T>(warp.at<Kept<T>>(place)[lane]);
}

template <class T> void write(Warp& warp, int32_t place, const T* values, Mask active) {
    if constexpr (std::is_same_v<T, bool>) {
        Mask found = 0;
        for (int lane = 0; lane < LANES; ++lane) found |= Mask(values[lane]) << lane;
        Mask& predicate = warp.predicate(place);
        predicate = (predicate & ~active) | (found & active);
    } else {
        auto* target = warp.at<Kept<T>>(place);
        if (active == ALL_LANES)
            for (int lane = 0; lane < LANES; ++lane) target[lane] = values[lane];
        else
            for (int lane = 0; lane < LANES; ++lane)
                if (active >> lane & 1) target[lane] = values[lane];
    }
}

// One result of one, two or three operands, for each lane by itself.
template <class F, class R, class... A, size_t... I>
void lanewise(Warp& warp, const Instruction& instruction, Mask active, std::index_sequence<I...>) {
    R found[LANES];
    for (int lane = 0; lane < LANES; ++lane) found[lane] = F{}(read<A>(warp, instruction.in[I], lane)...);
    write<R>(warp, instruction.out[0], found, active);
}

template <class F, class R, class... A> void each_lane(Warp& warp, const Instruction& instruction, Mask active) {
    lanewise<F, R, A...>(warp, instruction, active, std::index_sequence_for<A...>{});
}

using Table = std::unordered_map<std::string, Operation>;

template <class R, class... A, class F> void add(Table& table, const std::string& opcode, F) {
    table[opcode] = {each_lane<F, R, A...>, Flow::next, {storage_of<R>()}, {storage_of<A>()...}};
}

template <class T> std::string named(const std::string& opcode) {
    if constexpr (std::is_same_v<T, bool>)
        return opcode + ".pred";
    else
        return opcode + (std::is_floating_point_v<T> ? ".f" : std::is_signed_v<T> ? ".s" : ".u") +
               std::to_string(8 * sizeof(T));
}

template <class T> std::string bits(const std::string& opcode) {
    return opcode + ".b" + std::to_string(8 * sizeof(T));
}

// -- numbers ------------------------------------------------------------------------------------

float without_denormals(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// With another rounding than the nearest; volatile, that nothing is computed elsewhere.
template <class F> float rounded(int mode, F compute) {
    const int before = std::fegetround();
    std::fesetround(mode);
    volatile float found = compute();
    std::fesetround(before);
    return found;
}

template <class To, class From> To saturated(From x) {
    if (std::isnan(x))  // as the instruction set has it
        return sizeof(From) < 8 && sizeof(To) < 8 ? 0 : static_cast<To>(uint64_t(1) << (8 * sizeof(To) - 1));
    if (x <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
}

template <class T> T high_of_product(T a, T b) {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>(static_cast<Wide>(a) * b >> 8 * sizeof(T));
}

template <class T> T quotient(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if constexpr (std::is_signed_v<T>)
        if (b == -1) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
    return a / b;
}

template <class T> T remainder_of(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
        if (b == -1) return 0;
    return a % b;
}

// Sums and products that go round, as the hardware's do.
template <class T> T sum(T a, T b) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
}

template <class T> T product(T a, T b) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}

template <class T> void add_integers(Table& t) {
    using U = std::make_unsigned_t<T>;
    add<T, T, T>(t, named<T>("add"), [](T a, T b) { return sum(a, b); });
    add<T, T, T>(t, named<T>("sub"), [](T a, T b) { return sum(a, static_cast<T>(0 - static_cast<U>(b))); });
    add<T, T, T>(t, named<T>("mul.lo"), [](T a, T b) { return product(a, b); });
    add<T, T, T>(t, named<T>("mul.hi"), [](T a, T b) { return high_of_product(a, b); });
    add<T, T, T, T>(t, named<T>("mad.lo"), [](T a, T b, T c) { return sum(product(a, b), c); });
    add<T, T, T>(t, named<T>("div"), [](T a, T b) { return quotient(a, b); });
    add<T, T, T>(t, named<T>("rem"), [](T a, T b) { return remainder_of(a, b); });
    add<T, T, T>(t, named<T>("min"), [](T a, T b) { return a < b ? a : b; });
    add<T, T, T>(t, named<T>("max"), [](T a, T b) { return a > b ? a : b; });
    constexpr uint32_t width = 8 * sizeof(T);
    add<T, T, uint32_t>(t, named<T>("shr"), [](T a, uint32_t n) -> T {
        return n < width ? a >> n : a < 0 ? static_cast<T>(-1) : 0;
    });
    if constexpr (std::is_signed_v<T>) {
        add<T, T>(t, named<T>("neg"), [](T a) { return static_cast<T>(0 - static_cast<U>(a)); });
        add<T, T>(t, named<T>("abs"), [](T a) { return a < 0 ? static_cast<T>(0 - static_cast<U>(a)) : a; });
    } else {
        add<T, T, uint32_t>(t, bits<T>("shl"), [](T a, uint32_t n) -> T { return n < width ? a << n : 0; });
        add<T, T, uint32_t>(t, bits<T>("shr"), [](T a, uint32_t n) -> T { return n < width ? a >> n : 0; });
        add<T, T, T, uint32_t, uint32_t>(t, bits<T>("bfi"), [](T a, T b, uint32_t from, uint32_t count) -> T {
            if (!count || from >= width) return b;
            const T field = (count < width ? (T(1) << count) - 1 : ~T(0)) << from;
            return (b & ~field) | (a << from & field);
        });
    }
}

template <class T> void add_logic(Table& t, const std::string& type) {
    add<T, T, T>(t, "and" + type, [](T a, T b) { return static_cast<T>(a & b); });
    add<T, T, T>(t, "or" + type, [](T a, T b) { return static_cast<T>(a | b); });
    add<T, T, T>(t, "xor" + type, [](T a, T b) { return static_cast<T>(a ^ b); });
    if constexpr (std::is_same_v<T, bool>)
        add<T, T>(t, "not" + type, [](T a) { return !a; });
    else
        add<T, T>(t, "not" + type, [](T a) { return static_cast<T>(~a); });
}

template <class T> void add_floats(Table& t) {
    for (const char* rounding : {"", ".rn"}) {
        const std::string after = rounding;
        add<T, T, T>(t, named<T>("add" + after), [](T a, T b) { return a + b; });
        add<T, T, T>(t, named<T>("sub" + after), [](T a, T b) { return a - b; });
        add<T, T, T>(t, named<T>("mul" + after), [](T a, T b) { return a * b; });
    }
    add<T, T, T, T>(t, named<T>("fma.rn"), [](T a, T b, T c) { return std::fma(a, b, c); });
    add<T, T, T>(t, named<T>("div.rn"), [](T a, T b) { return a / b; });
    add<T, T>(t, named<T>("rcp.rn"), [](T a) { return 1 / a; });
    add<T, T>(t, named<T>("sqrt.rn"), [](T a) { return std::sqrt(a); });
    add<T, T>(t, named<T>("neg"), [](T a) { return -a; });
    add<T, T>(t, named<T>("abs"), [](T a) { return std::fabs(a); });
    add<T, T, T>(t, named<T>("min"), [](T a, T b) { return std::fmin(a, b); });
    add<T, T, T>(t, named<T>("max"), [](T a, T b) { return std::fmax(a, b); });
    add<T, T, T>(t, named<T>("copysign"), [](T a, T b) { return std::copysign(b, a); });
    // Comparisons that hold as well where one is no number.
    add<bool, T, T>(t, named<T>("setp.ltu"), [](T a, T b) { return !(a >= b); });
    add<bool, T, T>(t, named<T>("setp.leu"), [](T a, T b) { return !(a > b); });
    add<bool, T, T>(t, named<T>("setp.gtu"), [](T a, T b) { return !(a <= b); });
    add<bool, T, T>(t, named<T>("setp.geu"), [](T a, T b) { return !(a < b); });
    add<bool, T, T>(t, named<T>("setp.equ"), [](T a, T b) { return !(a < b || a > b); });
    add<bool, T, T>(t, named<T>("setp.neu"), [](T a, T b) { return !(a == b); });
    add<bool, T, T>(t, named<T>("setp.nan"), [](T a, T b) { return std::isnan(a) || std::isnan(b); });
    add<bool, T, T>(t, named<T>("setp.num"), [](T a, T b) { return !std::isnan(a) && !std::isnan(b); });
    add<T, T>(t, named<T>(named<T>("cvt.rni")), [](T a) { return std::nearbyint(a); });
    add<T, T>(t, named<T>(named<T>("cvt.rzi")), [](T a) { return std::trunc(a); });
    add<T, T>(t, named<T>(named<T>("cvt.rmi")), [](T a) { return std::floor(a); });
    add<T, T>(t, named<T>(named<T>("cvt.rpi")), [](T a) { return std::ceil(a); });
}

template <class T> void add_comparisons(Table& t, const std::string& type) {
    add<bool, T, T>(t, "setp.eq" + type, [](T a, T b) { return a == b; });
    add<bool, T, T>(t, "setp.lt" + type, [](T a, T b) { return a < b; });
    add<bool, T, T>(t, "setp.le" + type, [](T a, T b) { return a <= b; });
    add<bool, T, T>(t, "setp.gt" + type, [](T a, T b) { return a > b; });
    add<bool, T, T>(t, "setp.ge" + type, [](T a, T b) { return a >= b; });
    if constexpr (std::is_floating_point_v<T>)  // where one is no number they are not said to differ
        add<bool, T, T>(t, "setp.ne" + type, [](T a, T b) { return a < b || a > b; });
    else
        add<bool, T, T>(t, "setp.ne" + type, [](T a, T b) { return a != b; });
}

template <class T> void add_moves(Table& t, const std::string& type) {
    add<T, T>(t, "mov" + type, [](T a) { return a; });
    if constexpr (!std::is_same_v<T, bool>)
        add<T, T, T, bool>(t, "selp" + type, [](T a, T b, bool first) { return first ? a : b; });
}

template <class To, class From> void add_conversion(Table& t) {
    const std::string name = named<From>(named<To>("cvt"));
    if constexpr (std::is_integral_v<To> && std::is_integral_v<From>) {
        add<To, From>(t, name, [](From a) { return static_cast<To>(a); });
    } else if constexpr (std::is_integral_v<To>) {
        add<To, From>(t, named<From>(named<To>("cvt.rzi")), [](From a) { return saturated<To>(std::trunc(a)); });
        add<To, From>(t, named<From>(named<To>("cvt.rni")), [](From a) { return saturated<To>(std::nearbyint(a)); });
        add<To, From>(t, named<From>(named<To>("cvt.rmi")), [](From a) { return saturated<To>(std::floor(a)); });
    } else {
        add<To, From>(t, name, [](From a) { return static_cast<To>(a); });
        add<To, From>(t, named<From>(named<To>("cvt.rn")), [](From a) { return static_cast<To>(a); });
    }
}

template <class To, class... From> void add_conversions(Table& t) {
    (add_conversion<To, From>(t), ...);
}

// What the hardware computes in a few bits less than could be kept is rounded well here; but the reciprocal of
// double precision has 32 bits of zeros.
void add_approximations(Table& t) {
    for (const char* denormals : {"", ".ftz"}) {
        const std::string after = std::string(denormals) + ".f32";
        const auto single = [&](const char* opcode, auto f) { add<float, float>(t, opcode + after, f); };
        if (*denormals) {
            single("ex2.approx", [](float a) { return without_denormals(std::exp2(without_denormals(a))); });
            single("rcp.approx", [](float a) { return without_denormals(1 / without_denormals(a)); });
        } else {
            single("ex2.approx", [](float a) { return std::exp2(a); });
            single("rcp.approx", [](float a) { return 1 / a; });
        }
        single("lg2.approx", [](float a) { return std::log2(a); });
        single("sqrt.approx", [](float a) { return std::sqrt(a); });
        single("rsqrt.approx", [](float a) { return 1 / std::sqrt(a); });
        add<float, float, float>(t, "div.approx" + after, [](float a, float b) {
            // Beyond 2^126 the quotient is 0, as the instruction set has it.
            return std::fabs(b) > 0x1p126f && std::isfinite(b) && std::isfinite(a) ? std::copysign(0.0f, a * b)
                                                                                  : a / b;
        });
        add<float, float, float>(t, "div.full" + after, [](float a, float b) { return a / b; });
    }
    add<double, double>(t, "rcp.approx.ftz.f64", [](double a) {
        const double found = 1 / a;
        uint64_t kept;
        std::memcpy(&kept, &found, 8);
        kept &= 0xffffffff00000000;
        double rounded;
        std::memcpy(&rounded, &kept, 8);
        return rounded;
    });
    add<float, float, float, float>(t, "fma.rm.f32", [](float a, float b, float c) {
        return rounded(FE_DOWNWARD, [=] { volatile float x = a, y = b, z = c; return std::fma(x, y, z); });
    });
    add<float, float, float>(t, "add.rz.f32", [](float a, float b) {
        return rounded(FE_TOWARDZERO, [=] { volatile float x = a, y = b; return x + y; });
    });
    add<float, float>(t, "cvt.sat.f32.f32", [](float a) { return std::fmin(std::fmax(a, 0.0f), 1.0f); });
}

// -- what is more than numbers ------------------------------------------------------------------

void nothing(Warp&, const Instruction&, Mask) {}

// Two registers of 32 bits are one of 64.
void pack(Warp& warp, const Instruction& instruction, Mask active) {
    uint64_t found[LANES];
    for (int lane = 0; lane < LANES; ++lane)
        found[lane] = warp.at<uint32_t>(instruction.in[0])[lane] |
                      uint64_t(warp.at<uint32_t>(instruction.in[1])[lane]) << 32;
    write(warp, instruction.out[0], found, active);
}

void unpack(Warp& warp, const Instruction& instruction, Mask active) {
    uint32_t low[LANES], high[LANES];
    for (int lane = 0; lane < LANES; ++lane) {
        const uint64_t both = warp.at<uint64_t>(instruction.in[0])[lane];
        low[lane] = uint32_t(both), high[lane] = uint32_t(both >> 32);
    }
    write(warp, instruction.out[0], low, active);
    write(warp, instruction.out[1], high, active);
}

// Each lane gets the number of another: a in [0], which one in [1], bounds in [2]. The predicate says whether
// there is such a lane. One that does not take part has nothing to give.
template <class F> void shuffle(Warp& warp, const Instruction& instruction, Mask active) {
    uint32_t found[LANES];
    bool within[LANES];
    for (int lane = 0; lane < LANES; ++lane) {
        const uint32_t b = read<uint32_t>(warp, instruction.in[1], lane) & 31;
        const uint32_t c = read<uint32_t>(warp, instruction.in[2], lane), segment = c >> 8 & 31;
        int from = F{}(lane, int(b), int(c & 31), int(segment), within[lane]);
        if (!within[lane]) from = lane;
        found[lane] = active >> from & 1 ? read<uint32_t>(warp, instruction.in[0], from) : ~uint32_t(0);
    }
    write(warp, instruction.out[0], found, active);
    if (instruction.out[1] >= 0) write(warp, instruction.out[1], within, active);
}

template <class F> void add_shuffle(Table& t, const std::string& kind, F) {
    t["shfl.sync." + kind + ".b32"] = {
        shuffle<F>, Flow::shuffle, {Storage::word, Storage::predicate},
        {Storage::word, Storage::word, Storage::word, Storage::word},
    };
}

void add_shuffles(Table& t) {
    add_shuffle(t, "bfly", [](int lane, int b, int c, int segment, bool& within) {
        const int from = lane ^ b, last = (lane & segment) | (c & ~segment);
        return within = from <= last, from;
    });
    add_shuffle(t, "down", [](int lane, int b, int c, int segment, bool& within) {
        const int from = lane + b, last = (lane & segment) | (c & ~segment);
        return within = from <= last, from;
    });
    add_shuffle(t, "up", [](int lane, int b, int c, int segment, bool& within) {
        const int from = lane - b, last = (lane & segment) | (c & ~segment);
        return within = from >= last, from;
    });
    add_shuffle(t, "idx", [](int lane, int b, int c, int segment, bool& within) {
        const int first = lane & segment, from = first | (b & ~segment), last = first | (c & ~segment);
        return within = from <= last, from;
    });
}

Table make_table() {
    Table t;
    add_integers<int32_t>(t), add_integers<uint32_t>(t), add_integers<int64_t>(t), add_integers<uint64_t>(t);
    add_floats<float>(t), add_floats<double>(t);
    add_logic<uint16_t>(t, ".b16"), add_logic<uint32_t>(t, ".b32"), add_logic<uint64_t>(t, ".b64");
    add_logic<bool>(t, ".pred");
    add_comparisons<int16_t>(t, ".s16"), add_comparisons<uint16_t>(t, ".u16");
    add_comparisons<int32_t>(t, ".s32"), add_comparisons<uint32_t>(t, ".u32"), add_comparisons<uint32_t>(t, ".b32");
    add_comparisons<int64_t>(t, ".s64"), add_comparisons<uint64_t>(t, ".u64"), add_comparisons<uint64_t>(t, ".b64");
    add_comparisons<float>(t, ".f32"), add_comparisons<double>(t, ".f64");
    for (const char* type : {".u16", ".s16", ".b16"}) add_moves<uint16_t>(t, type);
    for (const char* type : {".u32", ".s32", ".b32"}) add_moves<uint32_t>(t, type);
    for (const char* type : {".u64", ".s64", ".b64"}) add_moves<uint64_t>(t, type);
    add_moves<float>(t, ".f32"), add_moves<double>(t, ".f64"), add_moves<bool>(t, ".pred");
    add<uint64_t, uint64_t>(t, "cvta.to.global.u64", [](uint64_t a) { return a; });
    add<int64_t, int32_t, int32_t>(t, "mul.wide.s32", [](int32_t a, int32_t b) { return int64_t(a) * b; });
    add<uint64_t, uint32_t, uint32_t>(t, "mul.wide.u32", [](uint32_t a, uint32_t b) { return uint64_t(a) * b; });
    add_conversions<int16_t, int8_t, int32_t, uint32_t, int64_t, uint64_t, float, double>(t);
    add_conversions<uint16_t, uint8_t, int32_t, uint32_t, int64_t, uint64_t, float, double>(t);
    add_conversions<int32_t, int8_t, int16_t, uint16_t, int64_t, uint64_t, float, double>(t);
    add_conversions<uint32_t, uint8_t, uint16_t, int64_t, uint64_t, float, double>(t);
    add_conversions<int64_t, int8_t, int16_t, int32_t, uint32_t, float, double>(t);
    add_conversions<uint64_t, uint8_t, uint16_t, int32_t, uint32_t, float, double>(t);
    add_conversions<float, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, double>(t);
    add_conversions<double, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float>(t);
    add_approximations(t);
    add_shuffles(t);
    t["pack"] = {pack, Flow::next, {Storage::pair}, {Storage::word, Storage::word}};
    t["unpack"] = {unpack, Flow::next, {Storage::word, Storage::word}, {Storage::pair}};
    t["bra"] = t["bra.uni"] = {nothing, Flow::branch, {}, {}};
    t["ret"] = {nothing, Flow::leave, {}, {}};
    t["exit"] = {nothing, Flow::leave, {}, {}};
    t["bar.sync"] = t["barrier.sync"] = {nothing, Flow::block_barrier, {}, {Storage::word}};
    t["bar.warp.sync"] = {nothing, Flow::warp_barrier, {}, {Storage::word}};
    return t;
}

// -- memory -------------------------------------------------------------------------------------

// A register is as wide as what it gets, or wider.
template <class T, class Register, int count, bool shared>
void load(Warp& warp, const Instruction& instruction, Mask active) {
    for (int lane = 0; lane < LANES; ++lane) {
        if (!(active >> lane & 1)) continue;
        const uint64_t address = warp.at<uint64_t>(instruction.in[0])[lane] + instruction.offset;
        const int size = count * sizeof(T);
        const uint8_t* from = shared ? warp.shared(address, size, lane, Access::read)
                                     : warp.global(address, size, lane, Access::read);
        for (int part = 0; part < count; ++part) {
            T value;
            std::memcpy(&value, from + part * sizeof(T), sizeof(T));
            warp.at<Register>(instruction.out[part])[lane] = static_cast<Register>(value);
        }
    }
}

template <class T, class Register, int count, bool shared>
void store(Warp& warp, const Instruction& instruction, Mask active) {
    for (int lane = 0; lane < LANES; ++lane) {
        if (!(active >> lane & 1)) continue;
        const uint64_t address = warp.at<uint64_t>(instruction.in[0])[lane] + instruction.offset;
        T values[count];
        for (int part = 0; part < count; ++part)
            values[part] = static_cast<T>(warp.at<Register>(instruction.in[1 + part])[lane]);
        uint8_t* to = shared ? warp.shared(address, sizeof values, lane, Access::write, values)
                             : warp.global(address, sizeof values, lane, Access::write, values);
        std::memcpy(to, values, sizeof values);
    }
}

// What was there, and there the sum instead.
template <class T> void add_to_memory(Warp& warp, const Instruction& instruction, Mask active) {
    for (int lane = 0; lane < LANES; ++lane) {
        if (!(active >> lane & 1)) continue;
        const uint64_t address = warp.at<uint64_t>(instruction.in[0])[lane] + instruction.offset;
        uint8_t* place = warp.global(address, sizeof(T), lane, Access::add);
        T value;
        std::memcpy(&value, place, sizeof(T));
        const T total = value + warp.at<T>(instruction.in[1])[lane];
        std::memcpy(place, &total, sizeof(T));
        warp.at<T>(instruction.out[0])[lane] = value;
    }
}

template <class T> void load_parameter(Warp& warp, const Instruction& instruction, Mask active) {
    T value;
    std::memcpy(&value, warp.parameters() + instruction.offset, sizeof(T));
    T values[LANES];
    for (T& each : values) each = value;
    write(warp, instruction.out[0], values, active);
}

using Transfers = std::map<std::pair<std::string, Storage>, Action>;

template <class T, class Register, int count> void add_transfer(Transfers& t, const std::string& type) {
    const std::string vector = count == 1 ? "" : ".v" + std::to_string(count);
    const Storage storage = storage_of<Register>();
    t[{"ld.global" + vector + type, storage}] = load<T, Register, count, false>;
    t[{"st.global" + vector + type, storage}] = store<T, Register, count, false>;
    t[{"ld.shared" + vector + type, storage}] = load<T, Register, count, true>;
    t[{"st.shared" + vector + type, storage}] = store<T, Register, count, true>;
}

template <class T> void add_transfers(Transfers& t, const std::string& type) {
    using Narrow = std::conditional_t<sizeof(T) < 8, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>, T>;
    using Register = std::conditional_t<std::is_floating_point_v<T>, T, Narrow>;
    add_transfer<T, Register, 1>(t, type);
    if constexpr (sizeof(T) >= 4) add_transfer<T, Register, 2>(t, type);
    if constexpr (sizeof(T) == 4) add_transfer<T, Register, 4>(t, type);
    if constexpr (sizeof(T) < 8 && std::is_integral_v<T>)
        add_transfer<T, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>, 1>(t, type);
    t[{"ld.param" + type, storage_of<T>()}] = load_parameter<T>;
}

Transfers make_transfers() {
    Transfers t;
    add_transfers<uint8_t>(t, ".u8"), add_transfers<int8_t>(t, ".s8");
    add_transfers<uint16_t>(t, ".u16"), add_transfers<int16_t>(t, ".s16");
    add_transfers<uint32_t>(t, ".u32"), add_transfers<int32_t>(t, ".s32"), add_transfers<uint32_t>(t, ".b32");
    add_transfers<uint64_t>(t, ".u64"), add_transfers<int64_t>(t, ".s64"), add_transfers<uint64_t>(t, ".b64");
    add_transfers<float>(t, ".f32"), add_transfers<double>(t, ".f64");
    t[{"atom.global.add.u64", Storage::pair}] = add_to_memory<uint64_t>;
    t[{"atom.global.add.u32", Storage::word}] = add_to_memory<uint32_t>;
    return t;
}

}  // namespace

const Operation& operation(const std::string& opcode) {
    static const Table table = make_table();
    const auto found = table.find(opcode);
    if (found == table.end()) throw Fault("no such instruction here: " + opcode);
    return found->second;
}

Action transfer(const std::string& opcode, Storage registers) {
    static const Transfers transfers = make_transfers();
    const auto found = transfers.find({opcode, registers});
    if (found == transfers.end()) throw Fault("no such load or store here: " + opcode);
    return found->second;
}
