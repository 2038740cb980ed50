/* json.c: JSON strings and numbers out, and the scanner for headers. */
#include "5_results/json.h"

#include <math.h>
#include <string.h>

bool pt_utf8_valid(const char *text, size_t size) {
    for (size_t at = 0, length; at < size; at += length) {
        length = pt_utf8_length(text + at, size - at);
        if (length == 0)
            return false;
    }
    return true;
}

void pt_json_quote(pt_string *out, const char *text) {
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    pt_string_add(out, "\"");
    for (const char *from = text; *from;) {
        size_t plain = 0; /* bytes that stand for themselves */
        while ((unsigned char)from[plain] >= 0x20 && !strchr("\"\\", from[plain]))
            plain++;
        pt_string_add(out, "%.*s", (int)plain, from);
        from += plain;
        const char *named = *from ? strchr(values, *from) : NULL;
        if (named)
            pt_string_add(out, "\\%c", names[named - values]);
        else if (*from)
            pt_string_add(out, "\\u%04x", (unsigned)*from);
        from += *from != '\0';
    }
    pt_string_add(out, "\"");
}

void pt_json_number(pt_string *out, double value) {
    char text[32];
    pt_string_add(out, "%s", isfinite(value) ? pt_print_double(value, text) : "null");
}

void pt_json_member(pt_string *out, const char *name, double value) {
    pt_string_add(out, ", \"%s\": ", name);
    pt_json_number(out, value);
}

static bool fault(pt_json_scan *scan, const char *reason) {
    scan->reason = reason;
    return false;
}

/* The next byte, or -1 at the end. */
static int peek(const pt_json_scan *scan) {
    return scan->at < scan->size ? (unsigned char)scan->text[scan->at] : -1;
}

static void skip_blanks(pt_json_scan *scan) {
    for (int c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

bool pt_json_take(pt_json_scan *scan, char wanted) {
    skip_blanks(scan);
    if (peek(scan) != (unsigned char)wanted)
        return false;
    scan->at++;
    return true;
}

bool pt_json_expect(pt_json_scan *scan, char wanted) {
    static const char *const reasons[] = {"expected '{'", "expected '}'", "expected '['",
                                          "expected ']'", "expected ':'", "expected ','"};
    if (pt_json_take(scan, wanted))
        return true;
    if (peek(scan) < 0)
        return fault(scan, "the header ends in the middle");
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i][strlen("expected '")] == wanted)
            return fault(scan, reasons[i]);
    return fault(scan, "expected something else");
}

bool pt_json_end(pt_json_scan *scan) {
    skip_blanks(scan);
    return scan->at == scan->size || fault(scan, "something follows the end of the header");
}

/* Four hexadecimal digits after "\u". */
static bool hex4(pt_json_scan *scan, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < 4; i++, scan->at++) {
        int c = peek(scan);
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return fault(scan, "a \\u escape wants four hexadecimal digits");
        *value = *value * 16 + digit;
    }
    return true;
}

/* The code point of an escape whose backslash has been consumed. */
static bool escape(pt_json_scan *scan, uint32_t *code) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    int c = peek(scan);
    const char *found = c > 0 ? strchr(names, c) : NULL;
    if (found) {
        scan->at++;
        *code = (unsigned char)values[found - names];
        return true;
    }
    if (c != 'u')
        return fault(scan, "unknown escape in a string");
    scan->at++;
    if (!hex4(scan, code))
        return false;
    if (*code == 0)
        return fault(scan, "NUL in a string");
    if (*code < 0xD800 || *code > 0xDFFF)
        return true;
    uint32_t low;
    if (*code > 0xDBFF || scan->size - scan->at < 6 || memcmp(scan->text + scan->at, "\\u", 2) != 0)
        return fault(scan, "half a surrogate pair in a string");
    scan->at += 2;
    if (!hex4(scan, &low))
        return false;
    if (low < 0xDC00 || low > 0xDFFF)
        return fault(scan, "half a surrogate pair in a string");
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

static size_t encode_utf8(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(lead[length] | code);
    return length;
}

bool pt_json_string(pt_json_scan *scan, char *out, size_t *length) {
    skip_blanks(scan);
    if (peek(scan) != '"')
        return fault(scan, peek(scan) < 0 ? "the header ends in the middle" : "expected a string");
    scan->at++;
    size_t used = 0;
    for (int c; (c = peek(scan)) != '"';) {
        char piece[4];
        const char *from = piece;
        size_t count;
        if (c < 0)
            return fault(scan, "a string does not end");
        if (c < 0x20)
            return fault(scan, "control character in a string");
        if (c == '\\') {
            uint32_t code;
            scan->at++;
            if (!escape(scan, &code))
                return false;
            count = encode_utf8(code, piece);
        } else {
            from = scan->text + scan->at;
            count = pt_utf8_length(from, scan->size - scan->at);
            if (count == 0)
                return fault(scan, "not UTF-8");
            scan->at += count;
        }
        if (out)
            memcpy(out + used, from, count);
        used += count;
    }
    scan->at++;
    if (out)
        out[used] = '\0';
    *length = used;
    return true;
}

bool pt_json_u64(pt_json_scan *scan, uint64_t *value) {
    skip_blanks(scan);
    int c = peek(scan);
    if (c == '-')
        return fault(scan, "negative number");
    if (c < '0' || c > '9')
        return fault(scan, "expected a whole number");
    size_t start = scan->at;
    uint64_t sum = 0;
    for (; (c = peek(scan)) >= '0' && c <= '9'; scan->at++)
        if (__builtin_mul_overflow(sum, (uint64_t)10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(c - '0'), &sum)) {
            scan->at = start;
            return fault(scan, "number too large");
        }
    if (c == '.' || c == 'e' || c == 'E')
        return fault(scan, "expected a whole number");
    if (scan->text[start] == '0' && scan->at - start > 1) {
        scan->at = start;
        return fault(scan, "number with a leading zero");
    }
    *value = sum;
    return true;
}
