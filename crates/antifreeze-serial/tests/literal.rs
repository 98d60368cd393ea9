//! What is a Python literal and what is not: the list of `ast.literal_eval`, tried on CPython 3.11.

use antifreeze_serial::{ErrorKind, Value};

#[track_caller]
fn check(literal: &str, repr: &str) {
    match Value::parse_literal(literal) {
        Ok(value) => assert_eq!(value.to_string(), repr, "{literal:?}"),
        Err(error) => panic!("{literal:?}: {error}"),
    }
}

#[track_caller]
fn refuse(literal: &str) {
    refuse_as(ErrorKind::Syntax, literal);
}

#[track_caller]
fn refuse_as(kind: ErrorKind, literal: &str) {
    match Value::parse_literal(literal) {
        Ok(value) => panic!("{literal:?} gave {value}"),
        Err(error) => assert_eq!(error.kind(), kind, "{literal:?}: {error}"),
    }
}

#[test]
fn a_repr_escapes_what_python_does_not_print() {
    for (text, repr) in [
        ("\u{2028}", r"'\u2028'"),
        ("\u{a0}\u{ad}\u{85}", r"'\xa0\xad\x85'"),
        ("\u{3000} \u{200b}", r"'\u3000 \u200b'"),
        ("\u{e000}\u{10ffff}", r"'\ue000\U0010ffff'"),
        ("ä€😀e\u{301}", "'ä€😀e\u{301}'"),
    ] {
        assert_eq!(Value::from(text).to_string(), repr);
    }
    check(r"'\ud800\udfff'", r"'\ud800\udfff'");
}

#[test]
fn scalars() {
    check("None", "None");
    check("True", "True");
    check("False", "False");
    check("...", "...");
    check("0", "0");
    check("00", "0");
    check("0_0", "0");
    check("1_000", "1000");
    check("+1", "1");
    check("- 1", "-1");
    check("-0", "0");
    check("-(1)", "-1");
    check("-( (1.5) )", "-1.5");
    check("1+(2j)", "(1+2j)");
    check("0x_ff", "255");
    check("0XFF", "255");
    check("0o17", "15");
    check("0b1_0", "2");
    check("-0x10", "-16");
    check("9223372036854775807", "9223372036854775807");
    check("-9223372036854775808", "-9223372036854775808");
    check("9223372036854775808", "9223372036854775808");
    check("0xffffffffffffffffffff", "1208925819614629174706175");
    check("1.", "1.0");
    check(".5", "0.5");
    check("1.e5", "100000.0");
    check("01.5", "1.5");
    check("1_0e1_0", "100000000000.0");
    check("1E5", "100000.0");
    check("1e400", "inf");
    check("-1e30000", "-inf");
}

#[test]
fn complex_numbers() {
    check("1j", "1j");
    check("01j", "1j");
    check("1.5J", "1.5j");
    check("1+2j", "(1+2j)");
    check("1 - 2j", "(1-2j)");
    check("-1-2j", "(-1-2j)");
    check("(1.0+2.0j)", "(1+2j)");
    check("(1.0+1e30000j)", "(1+infj)");
    check("1e30000-1e30000j", "(inf-infj)");
    check("((1+2j),)", "((1+2j),)");
    check("(1)+2j", "(1+2j)");
    check("(-1)-2j", "(-1-2j)");
    check("-(1)+(2j)", "(-1+2j)");
    check("((1.5) + ((2j)))", "(1.5+2j)");
    check("(((1)))+2j", "(1+2j)");
    check("[(1)+2j, ((2))-2j, (3)]", "[(1+2j), (2-2j), 3]");
    check("((1)+2j, 3)", "((1+2j), 3)");
    check("{(1)+2j: ((0))+1j}", "{(1+2j): 1j}");
    check("{'a': (\n1) # one\n+2j}", "{'a': (1+2j)}");
    check("1000000000000000000000000+1j", "(1e+24+1j)");
}

#[test]
fn strings() {
    check("'a'", "'a'");
    check("\"it's\"", "\"it's\"");
    check("'a' 'b'", "'ab'");
    check("'a''b'", "'ab'");
    check("'a' \"b\" '''c'''", "'abc'");
    check("('a'\n'b')", "'ab'");
    check("u'a'", "'a'");
    check("r'\\n'", "'\\\\n'");
    check("r'a\\\nb'", "'a\\\\\\nb'");
    check("{r'a\\\r\nb':'\\\r\n'}", "{'a\\\\\\nb': ''}");
    check("r'\\''", "\"\\\\'\"");
    check("'''a\nb'''", "'a\\nb'");
    check("'''a\r\nb\rc'''", "'a\\nb\\nc'");
    check("'''a'b''c'''", "\"a'b''c\"");
    check("\"\"\"\"a\"\"\"", "'\"a'");
    check("''", "''");
    check("''''''", "''");
    check("'a\\\nb'", "'ab'");
    check("'a\\\r\nb'", "'ab'");
    check("'\\x41\\u0042\\U00000043\\104'", "'ABCD'");
    check("'\\777'", "'\u{1ff}'");
    check("'\\0\\08'", "'\\x00\\x008'");
    check("'\\q\\8'", "'\\\\q\\\\8'");
    check("'\\a\\b\\f\\v\\n\\r\\t'", "'\\x07\\x08\\x0c\\x0b\\n\\r\\t'");
    check("'\\ud800'", "'\\ud800'");
    check("'\\ud83d\\ude00'", "'\\ud83d\\ude00'");
    check("'\u{2028}\u{feff}'", r"'\u2028\ufeff'");
    check("b'a\\xff\\400'", "b'a\\xff\\x00'");
    check("b'\\u1234'", "b'\\\\u1234'");
    check("'a\\N{EN DASH}b\\N{greek small letter alpha}'", "'a–bα'");
    check(
        "'\\N{LATIN SMALL LETTER SHARP S}\\N{GRINNING FACE}'",
        "'ß😀'",
    );
    check(
        "'\\N{HANGUL SYLLABLE GA}\\N{CJK UNIFIED IDEOGRAPH-4E2D}'",
        "'가中'",
    );
    check("'\\N{LINE FEED}\\N{NBSP}\\N{HYPHEN-MINUS}'", "'\\n\\xa0-'");
    check("r'\\N{DASH}'", "'\\\\N{DASH}'");
    check("b'\\N{DASH}'", "b'\\\\N{DASH}'");
    check("b'a' B\"b\"", "b'ab'");
    check("Rb'\\n'", "b'\\\\n'");
    check("bR'\\n'", "b'\\\\n'");
}

#[test]
fn containers() {
    check("()", "()");
    check("(1,)", "(1,)");
    check("(1,2,)", "(1, 2)");
    check("1,2", "(1, 2)");
    check("1,", "(1,)");
    check("'a', [1]", "('a', [1])");
    check("(1)", "1");
    check("((1))", "1");
    check("(-1)", "-1");
    check("('a')", "'a'");
    check("([1,2])", "[1, 2]");
    check("({'a': (None)})", "{'a': None}");
    check("((), ((1,),), ((2, 3)))", "((), ((1,),), (2, 3))");
    check("[1,\n2,]", "[1, 2]");
    check("[ 1 , # one\n 2 ]", "[1, 2]");
    check("[]", "[]");
    check("{}", "{}");
    check("{ }", "{}");
    check("{1}", "{1}");
    check("{1,2,}", "{1, 2}");
    check("{(1,2),b'a',None}", "{(1, 2), b'a', None}");
    check("{1:2,}", "{1: 2}");
    check(
        "{'a' : {'b':[]} , (1,2) : 3}",
        "{'a': {'b': []}, (1, 2): 3}",
    );
    check(
        "{None:1,b'a':1,1.5:2,True:3}",
        "{None: 1, b'a': 1, 1.5: 2, True: 3}",
    );
    check("set()", "set()");
    check("set ( )", "set()");
    check("[set(),()]", "[set(), ()]");
}

#[test]
fn what_stands_around_a_literal() {
    check("# serpent utf-8 python3.2\n1", "1");
    check("#\n1", "1");
    check("\n\n1", "1");
    check("# a\n\n \t\n   # b\n1", "1");
    check("  1", "1");
    check("1  # c", "1");
    check("1 # c\n# d\n\n", "1");
    check("1\r\n", "1");
    check("\x0c1\x0c", "1");
    check("\\\n1", "1");
    check("(\n 1)", "1");
}

#[test]
fn what_is_no_literal() {
    for text in [
        "",
        " ",
        "# only\n",
        "nan",
        "inf",
        "Nonex",
        "None1",
        "true",
        "x",
        "f()",
        "set(1)",
        "set",
        "dict()",
        "1+2",
        "1j+1",
        "(1)+2",
        "(1j)+2j",
        "(1+2j)+3j",
        "((1)+2j)+3j",
        "(1)+(-2j)",
        "(-(-1))+2j",
        "('a')+2j",
        "((1,))+2j",
        "(1,)+2j",
        "([1])+2j",
        "()+2j",
        "(True)+2j",
        "(1)+",
        "[(1)+2]",
        "'\\N'",
        "'\\N{'",
        "'\\N{DASH'",
        "'\\N{NO SUCH CHARACTER}'",
        "'\\NDASH'",
        "'\\N{}'",
        "'\\N{-}'",
        "'\\N{ EN DASH}'",
        "'\\N{EN  DASH}'",
        "'\\N{EN_DASH}'",
        "'\\N{ENDASH}'",
        "'\\N{CJK UNIFIED IDEOGRAPH-}'",
        "1+2j+3j",
        "--1",
        "-True",
        "-(-1)",
        "-(1+2j)",
        "-(1,)",
        "-(1",
        "-'a'",
        "not 1",
        "1 2",
        "[1 2]",
        "'a'\n'b'",
        "1;",
        "1\n2",
        "\n 1",
        "# c\n 1",
        "[",
        "]",
        "(1",
        "(1,",
        "[1,",
        "{1:",
        "{1",
        "(,)",
        "[,]",
        "{,}",
        "{1:2,3}",
        "{1,2:3}",
        "{1:2:3}",
        "{**{}}",
        "[*a]",
        "(1,,)",
        "017",
        "1__0",
        "1_",
        "_1",
        "1_.5",
        "1._5",
        "._5",
        "1..",
        "1e",
        "1e+",
        "0x",
        "0xg",
        "0b2",
        "0o8",
        "1if",
        "1a",
        "'",
        "'a",
        "'a\nb'",
        "'''a''",
        "'\\x4'",
        "'\\u12'",
        "'\\U00110000'",
        "'a' b'b'",
        "b'\u{e9}'",
        "ur'a'",
        "f'a'",
        "fr'a'",
        "bu'a'",
        "\u{feff}1",
        "\0",
        "'\0'",
        "'a' 'b",
        ".",
        "..",
        "....",
        "lambda: 1",
        "[x for x in y]",
        "1 if 2 else 3",
        "1 .5",
    ] {
        refuse(text);
    }
    refuse_as(ErrorKind::Type, "{[1]:2}");
    refuse_as(ErrorKind::Type, "{{}}");
    refuse_as(ErrorKind::Type, "{1,[2]}");
    refuse_as(ErrorKind::Type, "{1:2,(3,[4]):5}");
    refuse_as(ErrorKind::Type, "{set()}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    for literal in [
        "{'a': [1, -2.5, (3+4j), None], (1,): {'x'}, b'\\x00': ...}",
        "'\\x00\\x1f\\x7f\\x80\\xad\\udcff\u{e9}\u{1f600}'",
        "[[], (), {}, set(), (1,), '', b'']",
        "123456789012345678901234567890",
    ] {
        check(literal, literal);
    }
}
