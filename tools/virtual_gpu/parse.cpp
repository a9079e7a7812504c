// From the text of PTX to what `run` does.

#include <cctype>
#include <set>

#include "instructions.h"

namespace {

struct Token {
    std::string text;
    int line;
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines(1);
    for (char c : text) {
        if (c == '\n')
            lines.emplace_back();
        else
            lines.back() += c;
    }
    return lines;
}

bool is_part_of_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

std::vector<Token> tokens_of(const std::vector<std::string>& lines) {
    std::vector<Token> tokens;
    for (size_t number = 0; number < lines.size(); ++number) {
        const std::string line = lines[number].substr(0, lines[number].find("//"));
        for (size_t i = 0; i < line.size();) {
            size_t end = i + 1;
            if (std::isspace(static_cast<unsigned char>(line[i]))) {
                ++i;
                continue;
            }
            if (line[i] == '"')
                end = line.find('"', end) + 1;
            else if (is_part_of_word(line[i]))
                while (end < line.size() && is_part_of_word(line[end])) ++end;
            tokens.push_back({line.substr(i, end - i), int(number)});
            i = end;
        }
    }
    return tokens;
}

Storage storage_of_type(const std::string& type) {
    if (type == ".pred") return Storage::predicate;
    if (type == ".b64" || type == ".u64" || type == ".s64" || type == ".f64") return Storage::pair;
    return Storage::word;
}

size_t bytes_of_type(const std::string& type) { return std::stoul(type.substr(2)) / 8; }

std::string last_part(const std::string& opcode) { return opcode.substr(opcode.rfind('.')); }

bool begins_with(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

// The bits of a number as PTX writes it: 12, -1, 0x1F, 0f3F800000, 0d3FF0000000000000.
bool number_of(const std::string& text, uint64_t& bits) {
    if (begins_with(text, "0f") || begins_with(text, "0F") || begins_with(text, "0d") || begins_with(text, "0D"))
        return bits = std::stoull(text.substr(2), nullptr, 16), true;
    if (!std::isdigit(static_cast<unsigned char>(text[0])) && text[0] != '-') return false;
    if (text[0] == '-') return bits = 0 - std::stoull(text.substr(1), nullptr, 0), true;
    return bits = std::stoull(text, nullptr, 0), true;
}

// What stands in a map under a name.
template <class Value> const Value& found(const std::map<std::string, Value>& map, const std::string& name,
                                          const char* what) {
    const auto place = map.find(name);
    if (place == map.end()) throw Fault(std::string("no such ") + what + " here: " + name);
    return place->second;
}

struct Operand {
    std::string text;                // a register, a number, or a name
    std::vector<std::string> parts;  // of {a, b}
    bool is_address = false;
    int64_t offset = 0;
};

struct Register {
    int32_t place;
    Storage storage;
};

// A kernel or function: where its tokens begin, and its parameters.
struct Header {
    std::string name;
    std::vector<std::pair<std::string, std::string>> parameters;  // name, type
    std::string result;                                           // the name of what a function returns
    unsigned most_threads = 1024;
    size_t body = 0;
    bool is_kernel = false;
};

class Module {
  public:
    explicit Module(const std::string& text)
        : lines(std::make_shared<std::vector<std::string>>(lines_of(text))), tokens(tokens_of(*lines)) {
        read_headers();
    }

    std::shared_ptr<const std::vector<std::string>> lines;
    std::vector<Token> tokens;
    std::map<std::string, Header> headers;
    std::map<std::string, size_t> shared;  // bytes of each array in shared memory; 0: as a launch says

  private:
    void read_headers();
    void read_header(size_t& at);
};

size_t behind_braces(const std::vector<Token>& tokens, size_t at) {
    int depth = 0;
    do {
        if (tokens[at].text == "{") ++depth;
        if (tokens[at].text == "}") --depth;
        ++at;
    } while (depth);
    return at;
}

void Module::read_headers() {
    for (size_t at = 0; at < tokens.size();) {
        const std::string& text = tokens[at].text;
        if (text == ".entry" || text == ".func") {
            read_header(at);
        } else if (text == ".shared") {  // .shared .align 16 .b8 name[80];
            const std::string& name = tokens[at + 4].text;
            const bool known = tokens[at + 6].text != "]";
            shared[name] = known ? bytes_of_type(tokens[at + 3].text) * std::stoul(tokens[at + 6].text) : 0;
            ++at;
        } else {
            ++at;
        }
    }
}

void Module::read_header(size_t& at) {
    Header header;
    header.is_kernel = tokens[at++].text == ".entry";
    const auto parameters = [&] {
        std::vector<std::pair<std::string, std::string>> found;
        for (; tokens[at].text != ")"; ++at)
            if (tokens[at].text == ".param") {
                found.emplace_back(tokens[at + 2].text, tokens[at + 1].text);
                if (tokens[at + 1].text == ".align") throw Fault("parameters that are arrays are not known here");
            }
        ++at;
        return found;
    };
    if (tokens[at].text == "(") header.result = parameters()[0].first;
    header.name = tokens[at++].text;
    if (tokens[at].text == "(") header.parameters = parameters();
    for (; tokens[at].text != "{" && tokens[at].text != ";"; ++at)
        if (tokens[at].text == ".maxntid") {
            header.most_threads = 1;
            for (int axis = 0; axis < 3; ++axis) header.most_threads *= std::stoul(tokens[at + 1 + 2 * axis].text);
        }
    if (tokens[at].text == ";") return;  // only said to be there
    header.body = at;
    headers[header.name] = header;
    at = behind_braces(tokens, at);
}

// Makes the program of one kernel.
class Builder {
  public:
    Builder(const Module& module, const Header& kernel) : module_(module) {
        program_.name = kernel.name, program_.lines = module.lines, program_.most_threads = kernel.most_threads;
        for (const bool known : {true, false})  // what a launch adds lies behind all else
            for (const auto& [name, bytes] : module.shared)
                if ((bytes > 0) == known) {
                    shared_[name] = (program_.shared_bytes + 15) / 16 * 16;
                    program_.shared_bytes = shared_[name] + bytes;
                }
        for (const auto& [name, type] : kernel.parameters) {
            const size_t size = bytes_of_type(type);
            program_.parameter_bytes = (program_.parameter_bytes + size - 1) / size * size;
            program_.parameters.emplace_back(program_.parameter_bytes, size);
            kernel_parameters_[name] = program_.parameter_bytes;
            program_.parameter_bytes += size;
        }
        read_body(kernel, "");
        while (!awaited_.empty()) {  // functions that have been called
            const std::string name = *awaited_.begin();
            awaited_.erase(name);
            entries_[name] = int32_t(program_.code.size());
            read_body(found(module.headers, name, "function"), name);
        }
        for (auto& [at, name] : calls_) program_.code[at].target = found(entries_, name, "function");
    }

    Program program() { return std::move(program_); }

  private:
    void read_body(const Header& header, const std::string& function);
    void read_declaration(size_t& at);
    void read_instruction(size_t& at);
    void read_call(size_t& at, int line);
    std::vector<Operand> read_operands(size_t& at);
    void emit_transfer(Instruction instruction, const std::string& opcode, std::vector<Operand>& operands);
    void emit_move(const Register& to, const Register& from, int line);
    Register named(const std::string& name) const;
    int32_t place_of(const std::string& text, Storage storage);
    int32_t constant(uint64_t bits, Storage storage);
    int32_t new_place(Storage storage);
    void add(Instruction instruction) { program_.code.push_back(instruction); }
    // What belongs to a function has its name before its own.
    std::string own(const std::string& name) const { return function_.empty() ? name : function_ + "/" + name; }
    Register function_parameter(const std::string& function, const std::string& name, Storage storage);

    const Module& module_;
    Program program_;
    std::string function_;
    std::map<std::string, Register> registers_;
    std::map<std::string, size_t> kernel_parameters_, shared_;
    std::map<std::pair<uint64_t, Storage>, int32_t> constants_;
    std::map<std::string, int32_t> labels_, entries_;
    std::vector<std::pair<size_t, std::string>> jumps_, calls_;
    std::set<std::string> awaited_;
};

int32_t Builder::new_place(Storage storage) {
    const size_t size = storage == Storage::predicate ? sizeof(Mask) : LANES * (storage == Storage::pair ? 8 : 4);
    const size_t place = (program_.register_bytes + size - 1) / size * size;
    program_.register_bytes = place + size;
    return int32_t(place);
}

int32_t Builder::constant(uint64_t bits, Storage storage) {
    const auto [found, is_new] = constants_.try_emplace({bits, storage}, 0);
    if (is_new) {
        found->second = new_place(storage);
        program_.constants.push_back({found->second, storage, bits});
    }
    return found->second;
}

Register Builder::named(const std::string& name) const {
    const auto found = registers_.find(own(name));
    if (found == registers_.end()) throw Fault("no register " + name);
    return found->second;
}

// Where an operand lies: a register, a number, or the place of an array in shared memory.
int32_t Builder::place_of(const std::string& text, Storage storage) {
    static const std::map<std::string, Special> specials = {
        {"%tid.x", Special::thread_x}, {"%tid.y", Special::thread_y}, {"%tid.z", Special::thread_z},
        {"%ctaid.x", Special::block_x}, {"%ctaid.y", Special::block_y}, {"%ctaid.z", Special::block_z},
        {"%ntid.x", Special::threads_x}, {"%ntid.y", Special::threads_y}, {"%ntid.z", Special::threads_z},
        {"%nctaid.x", Special::blocks_x}, {"%nctaid.y", Special::blocks_y}, {"%nctaid.z", Special::blocks_z},
        {"%laneid", Special::lane}, {"%dynamic_smem_size", Special::dynamic_shared},
    };
    uint64_t bits;
    if (text == "_") return -1;
    if (const auto special = specials.find(text); special != specials.end()) {
        const auto [found, is_new] = registers_.try_emplace(text, Register{0, Storage::word});
        if (is_new) {
            found->second.place = new_place(Storage::word);
            program_.specials.emplace_back(found->second.place, special->second);
        }
        return found->second.place;
    }
    if (number_of(text, bits)) return constant(storage == Storage::word ? uint32_t(bits) : bits, storage);
    if (const auto array = shared_.find(text); array != shared_.end()) return constant(array->second, storage);
    const Register found = named(text);
    if (found.storage != storage) throw Fault("a register of another size: " + text);
    return found.place;
}

Register Builder::function_parameter(const std::string& function, const std::string& name, Storage storage) {
    const auto [found, is_new] = registers_.try_emplace(function + "/" + name, Register{0, storage});
    if (is_new) found->second.place = new_place(storage);
    return found->second;
}

void Builder::read_body(const Header& header, const std::string& function) {
    function_ = function;
    for (const auto& [name, type] : header.parameters)
        if (!function.empty()) function_parameter(function, name, storage_of_type(type));
    const std::vector<Token>& tokens = module_.tokens;
    labels_.clear(), jumps_.clear();
    size_t at = header.body;
    for (const size_t end = behind_braces(tokens, at); at < end;) {
        const std::string& text = tokens[at].text;
        try {
            if (text == "{" || text == "}" || text == ";")
                ++at;
            else if (tokens[at + 1].text == ":")
                labels_[text] = int32_t(program_.code.size()), at += 2;
            else if (text[0] == '.')
                read_declaration(at);
            else
                read_instruction(at);
        } catch (const Fault& fault) {
            throw Fault(std::string(fault.what()) + ": " + (*module_.lines)[tokens[at].line]);
        }
    }
    for (const auto& [from, label] : jumps_) program_.code[from].target = found(labels_, label, "label");
}

void Builder::read_declaration(size_t& at) {
    const std::vector<Token>& tokens = module_.tokens;
    const std::string kind = tokens[at].text;
    if (kind == ".reg" || kind == ".param") {  // .reg .f32 %f<12>; .reg .b32 %temp; .param .b64 param0;
        const Storage storage = storage_of_type(tokens[at + 1].text);
        const std::string name = own(tokens[at + 2].text);
        if (tokens[at + 3].text == "<")
            for (int i = 0, count = std::stoi(tokens[at + 4].text); i < count; ++i)
                registers_[name + std::to_string(i)] = {new_place(storage), storage};
        else
            registers_[name] = {new_place(storage), storage};
    } else if (kind != ".shared" && kind != ".pragma") {
        throw Fault("no such declaration here");
    }
    while (tokens[at].text != ";") ++at;
}

std::vector<Operand> Builder::read_operands(size_t& at) {
    const std::vector<Token>& tokens = module_.tokens;
    std::vector<Operand> operands(1);
    std::string* text = &operands.back().text;
    for (; tokens[at].text != ";"; ++at) {
        const std::string& token = tokens[at].text;
        if (token == "{") {
            while (tokens[++at].text != "}")
                if (tokens[at].text != ",") operands.back().parts.push_back(tokens[at].text);
        } else if (token == "[") {
            Operand& operand = operands.back();
            operand.is_address = true, operand.text = tokens[++at].text;
            if (tokens[at + 1].text == "+") {
                std::string number = tokens[at += 2].text;
                if (number == "-") number += tokens[++at].text;
                operand.offset = std::stoll(number);
            }
            ++at;  // ]
        } else if (token == "," || token == "|") {
            text = &operands.emplace_back().text;
        } else {
            *text += token;  // and a sign before its number
        }
    }
    return operands;
}

void Builder::read_instruction(size_t& at) {
    const std::vector<Token>& tokens = module_.tokens;
    Instruction instruction;
    instruction.line = tokens[at].line;
    if (tokens[at].text == "@") {
        instruction.guard_negated = tokens[at + 1].text == "!";
        at += 1 + instruction.guard_negated;
        instruction.guard = place_of(tokens[at++].text, Storage::predicate);
    }
    std::string opcode = tokens[at++].text;
    if (begins_with(opcode, "call")) return read_call(at, instruction.line);
    std::vector<Operand> operands = read_operands(at);
    if (begins_with(opcode, "ld.") || begins_with(opcode, "st.") || begins_with(opcode, "atom."))
        return emit_transfer(instruction, opcode, operands);
    if (opcode == "ret" && !function_.empty()) {
        instruction.flow = Flow::back;
        instruction.in[0] = function_parameter(function_, "return", Storage::word).place;
        return add(instruction);
    }
    if (begins_with(opcode, "mov.") && !operands[0].parts.empty()) opcode = "unpack";
    if (begins_with(opcode, "mov.") && !operands[1].parts.empty()) opcode = "pack";
    const Operation& operation = ::operation(opcode);
    instruction.act = operation.act, instruction.flow = operation.flow;
    if (operation.flow == Flow::branch) {
        jumps_.emplace_back(program_.code.size(), operands[0].text);
        return add(instruction);
    }
    std::vector<std::string> texts;
    for (const Operand& operand : operands) {
        if (operand.parts.empty())
            texts.push_back(operand.text);
        else
            texts.insert(texts.end(), operand.parts.begin(), operand.parts.end());
    }
    if (texts == std::vector<std::string>{""}) texts.clear();
    const bool without_predicate = operation.flow == Flow::shuffle && texts.size() == 5;
    if (without_predicate) texts.insert(texts.begin() + 1, "_");
    if (texts.size() != operation.out.size() + operation.in.size()) throw Fault("another number of operands");
    for (size_t i = 0; i < texts.size(); ++i) {
        const size_t input = i - operation.out.size();
        if (i < operation.out.size())
            instruction.out[i] = place_of(texts[i], operation.out[i]);
        else
            instruction.in[input] = place_of(texts[i], operation.in[input]);
    }
    for (size_t i = 0; i < operation.out.size(); ++i)  // what nobody wants goes somewhere
        if (instruction.out[i] < 0) instruction.out[i] = new_place(operation.out[i]);
    add(instruction);
}

void Builder::emit_transfer(Instruction instruction, const std::string& opcode, std::vector<Operand>& operands) {
    size_t which = 0;
    while (!operands[which].is_address) ++which;
    const Operand address = operands[which];
    if (begins_with(opcode, "ld.param") && function_.empty() && kernel_parameters_.count(address.text)) {
        const Register target = named(operands[0].text);
        instruction.offset = int64_t(kernel_parameters_.at(address.text)) + address.offset;
        const std::string type = last_part(opcode);
        instruction.act = transfer("ld.param" + type, storage_of_type(type));
        instruction.out[0] = target.place;
        return add(instruction);
    }
    if (begins_with(opcode, "ld.param"))
        return emit_move(named(operands[0].text), named(address.text), instruction.line);
    if (begins_with(opcode, "st.param")) {
        const std::string& text = operands[1].text;
        const Register target = named(address.text);
        return emit_move(target, {place_of(text, target.storage), target.storage}, instruction.line);
    }
    const bool loads = which > 0, both = begins_with(opcode, "atom.");
    Operand& values = operands[both ? 2 : loads ? 0 : 1];
    if (values.parts.empty()) values.parts.push_back(values.text);
    const Storage of_type = storage_of_type(last_part(opcode));
    const bool is_register = registers_.count(own(values.parts[0]));
    const Storage storage = is_register ? named(values.parts[0]).storage : of_type;
    instruction.act = transfer(opcode, storage), instruction.offset = address.offset;
    instruction.in[0] = place_of(address.text, Storage::pair);
    for (size_t i = 0; i < values.parts.size(); ++i)
        (loads && !both ? instruction.out[i] : instruction.in[1 + i]) = place_of(values.parts[i], storage);
    if (both) instruction.out[0] = place_of(operands[0].text, storage);
    add(instruction);
}

void Builder::emit_move(const Register& to, const Register& from, int line) {
    Instruction instruction;
    instruction.act = operation(to.storage == Storage::pair ? "mov.b64" : "mov.b32").act, instruction.line = line;
    instruction.out[0] = to.place, instruction.in[0] = from.place;
    add(instruction);
}

// call.uni (result), function, (a, b): arguments go where the function looks for them, and back comes its result.
void Builder::read_call(size_t& at, int line) {
    const std::vector<Token>& tokens = module_.tokens;
    std::vector<std::vector<std::string>> lists;
    std::string name;
    for (; tokens[at].text != ";"; ++at) {
        if (tokens[at].text == "(") {
            lists.emplace_back();
            while (tokens[++at].text != ")")
                if (tokens[at].text != ",") lists.back().push_back(tokens[at].text);
        } else if (tokens[at].text != ",") {
            name = tokens[at].text;
        }
    }
    const Header& function = found(module_.headers, name, "function");
    const std::vector<std::string>& arguments = lists.back();
    for (size_t i = 0; i < arguments.size(); ++i) {
        const Storage storage = storage_of_type(function.parameters[i].second);
        emit_move(function_parameter(name, function.parameters[i].first, storage), named(arguments[i]), line);
    }
    const int32_t next = int32_t(program_.code.size()) + 2;
    emit_move(function_parameter(name, "return", Storage::word), {constant(next, Storage::word), Storage::word}, line);
    if (!entries_.count(name)) awaited_.insert(name);
    Instruction jump;
    jump.flow = Flow::branch, jump.line = line, jump.act = operation("bra").act;
    calls_.emplace_back(program_.code.size(), name);
    add(jump);
    if (lists.size() == 2) {
        const Register result = named(lists[0][0]);
        emit_move(result, function_parameter(name, function.result, result.storage), line);
    }
}

}  // namespace

std::map<std::string, std::shared_ptr<Program>> parse(const std::string& ptx) {
    const Module module(ptx);
    std::map<std::string, std::shared_ptr<Program>> programs;
    for (const auto& [name, header] : module.headers)
        if (header.is_kernel) programs[name] = std::make_shared<Program>(Builder(module, header).program());
    return programs;
}
