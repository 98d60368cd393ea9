//! The payload of calls and batches.

use std::collections::BTreeMap;

use antifreeze_serial::{
    Blob, Bytes, CallHead, EncodedList, ErrorKind, Exception, Limits, Serializer, Value,
    WrappedException, encode, encode_call, encode_fragment, scan, scan_call,
};
use serde::Serialize;

const FORMATS: [Serializer; 4] = Serializer::ALL;

fn call<A: Serialize + ?Sized, K: Serialize + ?Sized>(
    format: Serializer,
    args: &A,
    kwargs: &K,
) -> Result<Vec<u8>, antifreeze_serial::Error> {
    let mut out = b"before".to_vec();
    match encode_call(format, "obj", "meth", args, kwargs, &mut out) {
        Ok(()) => Ok(out[6..].to_vec()),
        Err(error) => {
            assert_eq!(out, b"before");
            Err(error)
        }
    }
}

/// Arguments and keywords arrive as these literals.
#[track_caller]
fn check<A: Serialize + ?Sized, K: Serialize + ?Sized>(
    args: &A,
    kwargs: &K,
    expected_args: &str,
    expected_kwargs: &str,
) {
    for format in FORMATS {
        let payload = call(format, args, kwargs).unwrap();
        let head = scan_call(format, &payload, &Limits::default()).unwrap();
        assert_eq!((&*head.object, &*head.method), ("obj", "meth"), "{format}");
        let mut args: Value = head.args.decode().unwrap();
        // Only serpent and marshal know tuples.
        if let Value::List(items) = &args
            && expected_args.starts_with('(')
        {
            args = Value::Tuple(items.clone());
        }
        assert_eq!(args.to_string(), expected_args, "{format}");
        // By marshal, Pyro can have no None there.
        let expected_kwargs = match format {
            Serializer::Marshal if expected_kwargs == "None" => "{}",
            _ => expected_kwargs,
        };
        assert_eq!(
            head.kwargs.decode::<Value>().unwrap().to_string(),
            expected_kwargs,
            "{format}"
        );
        assert_eq!(head.kwargs.is_none(), expected_kwargs == "None");
    }
}

#[test]
fn calls_arrive() {
    check(
        &(1, "x"),
        &BTreeMap::from([("k", 2)]),
        "(1, 'x')",
        "{'k': 2}",
    );
    check(&(), &(), "()", "{}");
    check(&(), &None::<()>, "()", "None");
    check(&vec![1, 2], &(), "[1, 2]", "{}");
    check(&[Value::None], &(), "(None,)", "{}");
    check(&((),), &(), "(None,)", "{}");
    check(&Blob(5), &(), "5", "{}");
    check(&Blob("text"), &(), "'text'", "{}");
    check(
        &("it's", "\u{1f600}", "\\\n"),
        &(),
        "(\"it's\", '\u{1f600}', '\\\\\\n')",
        "{}",
    );
}

#[test]
fn what_is_no_argument_list_is_refused() {
    for format in FORMATS {
        let refused = |result: Result<Vec<u8>, antifreeze_serial::Error>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Type, "{format}");
        };
        refused(call(format, "text", &()));
        refused(call(format, &5, &()));
        refused(call(format, &None::<()>, &()));
        refused(call(format, &BTreeMap::from([(1, 2)]), &()));
        refused(call(format, &(1,), &5));
        refused(call(format, &(1,), &(1,)));
        refused(call(format, &(1,), "text"));
    }
    assert!(
        call(
            Serializer::Serpent,
            &antifreeze_serial::Complex::new(1.0, 2.0),
            &()
        )
        .is_err()
    );
    assert!(
        call(
            Serializer::Serpent,
            &(antifreeze_serial::Complex::new(1.0, 2.0),),
            &()
        )
        .is_ok()
    );
}

#[track_caller]
fn scanned(format: Serializer, payload: &[u8], expected: &str) {
    let head = scan_call(format, payload, &Limits::default()).unwrap();
    let args: Value = head.args.decode().unwrap();
    let kwargs: Value = head.kwargs.decode().unwrap();
    assert_eq!(
        format!("{} {} {args} {kwargs}", head.object, head.method),
        expected
    );
}

#[test]
fn calls_in_other_forms_are_understood() {
    scanned(
        Serializer::Json,
        br#"{"kwargs": null, "params": [1, "a"], "method": "m", "object": "o"}"#,
        "o m [1, 'a'] None",
    );
    scanned(Serializer::Json, b"\n{ \"extra\":[{}],\"object\":\"\\u006f\",\"method\":\"m\",\"params\":[],\"kwargs\":{}}\t", "o m [] {}");
    scanned(Serializer::Serpent, b"('o','m',(1,),{})", "o m (1,) {}");
    scanned(
        Serializer::Serpent,
        b"# x\n[\"o\", u'm' , [ 1,\n2 ] , None,]  # end\n",
        "o m [1, 2] None",
    );
    scanned(
        Serializer::Serpent,
        b"(('o'),'m',([1,2]),({'a':(1)}))",
        "o m [1, 2] {'a': 1}",
    );
    scanned(Serializer::Serpent, b"'o','m',(1,),{}", "o m (1,) {}");
    scanned(
        Serializer::Serpent,
        b"('o','m',((1,2)),(None))",
        "o m (1, 2) None",
    );
    scanned(
        Serializer::Msgpack,
        b"\x94\xd9\x01o\xa1m\x91\xc0\xc0",
        "o m [None] None",
    );
}

#[test]
fn what_is_no_call_is_refused() {
    for (format, payload) in [
        (Serializer::Serpent, &b"('o','m',(1,))"[..]),
        (Serializer::Serpent, b"('o','m',(1,),{},1)"),
        (Serializer::Serpent, b"('o',5,(1,),{})"),
        (Serializer::Serpent, b"{}"),
        (Serializer::Serpent, b"None"),
        (Serializer::Serpent, b"('\\ud800','m',(1,),{})"),
        (Serializer::Json, b"[]"),
        (
            Serializer::Json,
            br#"{"object": "o", "method": "m", "params": []}"#,
        ),
        (
            Serializer::Json,
            br#"{"object": 1, "method": "m", "params": [], "kwargs": {}}"#,
        ),
        (Serializer::Msgpack, b"\x93\xa1o\xa1m\x90"),
        (Serializer::Msgpack, b"\x80"),
    ] {
        let error = scan_call(format, payload, &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Type, "{payload:?}: {error}");
    }
    for (format, payload) in [
        (Serializer::Serpent, &b"('o','m',(1,),{}"[..]),
        (Serializer::Serpent, b"('o','m',(1,),{})x"),
        (Serializer::Serpent, b"('o','m',(f(),),{})"),
        (Serializer::Serpent, b""),
        (Serializer::Serpent, b"\xff"),
        (
            Serializer::Json,
            br#"{"object": "o", "method": "m", "params": [1 2], "kwargs": {}}"#,
        ),
        (
            Serializer::Json,
            br#"{"object": "o", "method": "m", "params": [], "kwargs": {}}}"#,
        ),
        (Serializer::Msgpack, b"\x94\xa1o\xa1m\x90\x80\x00"),
        (Serializer::Msgpack, b"\x94\xa1o\xa1m\x92\x80"),
    ] {
        let error = scan_call(format, payload, &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax, "{payload:?}: {error}");
    }
}

#[test]
fn arguments_are_taken_one_by_one() {
    for format in FORMATS {
        let payload = call(
            format,
            &(1, "two", [3.0], (), Some(5)),
            &BTreeMap::from([("k", 1), ("l", 2)]),
        )
        .unwrap();
        let head = scan_call(format, &payload, &Limits::default()).unwrap();
        assert!(!head.args.is_empty() && !head.kwargs.is_empty());
        let mut items = head.args.items().unwrap();
        assert_eq!(items.next::<i64>().unwrap(), Some(1));
        assert_eq!(items.next_str().unwrap().as_deref(), Some("two"));
        let raw = items.next_raw().unwrap().unwrap();
        assert_eq!(raw.decode::<Vec<f32>>().unwrap(), [3.0]);
        assert_eq!(items.next::<Option<u8>>().unwrap(), Some(None));
        assert_eq!(items.next::<Value>().unwrap(), Some(Value::Int(5)));
        assert_eq!(items.next::<i64>().unwrap(), None);
        assert_eq!(items.next::<i64>().unwrap(), None);
        assert!(items.next_raw().unwrap().is_none());
        let mut entries = head.kwargs.entries().unwrap();
        let (key, raw) = entries.next().unwrap().unwrap();
        assert_eq!((&*key, raw.decode::<i32>().unwrap()), ("k", 1));
        assert_eq!(&*entries.next().unwrap().unwrap().0, "l");
        assert!(entries.next().unwrap().is_none());
        assert!(entries.next().unwrap().is_none());
        assert_eq!(head.kwargs.items().unwrap_err().kind(), ErrorKind::Type);
        assert_eq!(head.args.entries().unwrap_err().kind(), ErrorKind::Type);
    }
}

#[test]
fn a_wrong_argument_is_told_with_its_place() {
    let payload = b"('o','m',(1,'x'),{})";
    let head = scan_call(Serializer::Serpent, payload, &Limits::default()).unwrap();
    let mut items = head.args.items().unwrap();
    items.next::<i64>().unwrap();
    assert_eq!(
        items.next::<i64>().unwrap_err().to_string(),
        "expected int, got str at byte 12"
    );
}

#[test]
fn batches_are_calls_within_a_call() {
    for format in FORMATS {
        let batch = [
            ("add", (1, 2), BTreeMap::<&str, i32>::new()),
            ("sub", (3, 4), BTreeMap::from([("k", 5)])),
        ];
        let payload = call(format, &batch[..], &None::<()>).unwrap();
        let head = scan_call(format, &payload, &Limits::default()).unwrap();
        assert_eq!(head.kwargs.is_none(), format != Serializer::Marshal);
        let show = |call: CallHead<'_>| {
            let args: (i32, i32) = call.args.decode().unwrap();
            format!("{}{args:?}{}", call.method, call.kwargs.is_empty())
        };
        let mut items = head.args.items().unwrap();
        let at_once = std::iter::from_fn(|| items.next_batch_item().unwrap().map(show));
        let expected = ["add(1, 2)true", "sub(3, 4)false"];
        assert_eq!(at_once.collect::<Vec<_>>(), expected, "{format}");
        // or kept for later, each with its document.
        let document = Bytes::from(payload.clone());
        let head = scan_call(format, &document, &Limits::default()).unwrap();
        let mut items = head.args.items().unwrap();
        let later = std::iter::from_fn(|| Some(items.next_raw().unwrap()?.part_of(&document)));
        let later = later.map(|part| show(part.raw().batch_item().unwrap()));
        assert_eq!(later.collect::<Vec<_>>(), expected, "{format}");
    }
}

#[test]
fn an_item_of_a_batch_is_a_triple_or_more() {
    let check = |item: &str, expected: Result<&str, &str>| {
        let payload = format!("('obj','<batch>',[{item}],None)");
        let limits = Limits::default();
        let head = scan_call(Serializer::Serpent, payload.as_bytes(), &limits).unwrap();
        let mut items = head.args.items().unwrap();
        let got = items.next_batch_item();
        let got = got.map(|call| call.unwrap().method.into_owned());
        let text = got.as_ref().map_err(|error| error.to_string());
        match expected {
            Ok(method) => assert_eq!(text.as_deref(), Ok(&method.to_owned())),
            Err(part) => assert!(text.is_err_and(|text| text.contains(part)), "{got:?}"),
        }
    };
    check("('add',(1,),{})", Ok("add"));
    check("['add',[1],None]", Ok("add"));
    check("('add',(1,),{},'ignored',5)", Ok("add"));
    check("(('add',(1,),{}))", Ok("add"));
    check("(('add'),((1)),({}))", Ok("add"));
    let triples = "a batch consists of triples";
    check("()", Err(triples));
    check("('add',)", Err(triples));
    check("('add',(1,))", Err(triples));
    check("(1,(1,),{})", Err("expected str"));
    check("'add'", Err("expected list or tuple"));
    check("{'add':1}", Err("expected list or tuple"));
}

#[test]
fn items_of_a_batch_may_refer_to_each_other_and_have_more_parentheses() {
    let check = |format, payload: &[u8], expected: &[&str]| {
        let document = Bytes::copy_from_slice(payload);
        let head = scan_call(format, &document, &Limits::default()).unwrap();
        let show = |call: CallHead<'_>| {
            let args: Vec<i32> = call.args.decode().unwrap();
            format!("{}{args:?}{}", call.method, call.kwargs.is_empty())
        };
        let mut items = head.args.items().unwrap();
        let at_once = std::iter::from_fn(|| items.next_batch_item().unwrap().map(show));
        assert_eq!(at_once.collect::<Vec<_>>(), expected, "{format}");
        let mut items = head.args.items().unwrap();
        let later = std::iter::from_fn(|| Some(items.next_raw().unwrap()?.part_of(&document)));
        let later = later.map(|part| show(part.raw().batch_item().unwrap()));
        assert_eq!(later.collect::<Vec<_>>(), expected, "{format}");
    };
    check(
        Serializer::Serpent,
        b"('obj','<batch>',[(('add',(1,),{})),(('b'),((2,3)),({})),('c',[],{})],None)",
        &["add[1]true", "b[2, 3]true", "c[]true"],
    );
    // What CPython writes for `t = ("add", (1,), {})` and `[t, t, ("b", t[1], {})]`: references.
    let args = b"\xa9\x01i\x01\0\0\0";
    let item = [&b"\xa9\x03\xda\x03add"[..], args, b"{0"].concat();
    let payload = [
        b")\x04\xda\x03obj\xda\x07<batch>[\x03\0\0\0",
        &item[..],
        b"r\x02\0\0\0",
        b")\x03\xda\x01br\x04\0\0\0{0N",
    ];
    check(
        Serializer::Marshal,
        &payload.concat(),
        &["add[1]true", "add[1]true", "b[1]true"],
    );
}

#[test]
fn the_answer_to_a_batch_is_put_together_from_parts() {
    for format in FORMATS {
        let mut fragments = vec![Vec::new(); 3];
        encode_fragment(format, &3, &mut fragments[0]).unwrap();
        encode_fragment(format, "_ExceptionWrapper", &mut fragments[1]).unwrap();
        let failed = WrappedException(Exception::new("builtins.ValueError", "boom"));
        encode_fragment(format, &failed, &mut fragments[2]).unwrap();
        let mut out = Vec::new();
        let mut list = EncodedList::new(format);
        for fragment in &fragments {
            list.push_fragment(fragment);
        }
        list.encode_document(&mut out).unwrap();
        let raw = scan(format, &out, &Limits::default()).unwrap();
        let mut items = raw.items().unwrap();
        let first = items.next_raw().unwrap().unwrap();
        assert!(first.wrapped_exception().unwrap().is_none());
        assert_eq!(first.decode::<i32>().unwrap(), 3);
        assert!(
            items
                .next_raw()
                .unwrap()
                .unwrap()
                .wrapped_exception()
                .unwrap()
                .is_none()
        );
        let third = items
            .next_raw()
            .unwrap()
            .unwrap()
            .wrapped_exception()
            .unwrap()
            .unwrap();
        assert_eq!(third, failed.0);
        assert!(items.next_raw().unwrap().is_none());

        let mut empty = Vec::new();
        EncodedList::new(format)
            .encode_document(&mut empty)
            .unwrap();
        assert_eq!(empty, encode(format, &Vec::<i32>::new()).unwrap());
    }
}

#[test]
fn raw_values_do_not_print_what_they_hold() {
    let head = scan_call(
        Serializer::Serpent,
        b"('o','m',('secret',),{})",
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(format!("{:?}", head.args), "Raw(serpent, 11 bytes)");
}
