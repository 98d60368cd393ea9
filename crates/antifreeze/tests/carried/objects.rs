//! Objects that travel as proxies, and calls back to whoever sent them.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc;
use std::time::Duration;

use antifreeze::{
    Daemon, DaemonHandle, Error, ErrorKind, InstanceMode, Object, Proxy, ProxyBuilder,
    SerializedBlob, Serializer, Uri, Value, WeakObject, call, expose, from_value, proxy,
    tokio as tasks,
};

use crate::by_each;
use crate::common::{Driver, SOON, bind, config};

/// The client's object, which is called back.
struct Listener(mpsc::SyncSender<String>);

#[expose]
impl Listener {
    fn hear(&self, text: String) -> usize {
        self.0.send(text.clone()).unwrap();
        text.len()
    }

    #[callback]
    fn refuse(&self) -> Result<(), antifreeze::Exception> {
        Err(antifreeze::Exception::new("builtins.ValueError", "no"))
    }
}

#[proxy]
trait Hearer {
    fn hear(&self, text: &str) -> usize;
}

#[proxy]
trait AsyncHearer {
    async fn hear(&self, text: &str) -> usize;
}

struct Server {
    daemon: DaemonHandle,
    listeners: Vec<Proxy>,
    itself: Option<WeakObject<Self>>,
}

#[expose]
impl Server {
    /// Calls back while the caller waits.
    fn greet(&self, listener: HearerProxy) -> Result<usize, Error> {
        listener.hear("greeted")
    }

    async fn greet_async(&self, listener: AsyncHearerProxy) -> Result<usize, Error> {
        listener.hear("greeted").await
    }

    fn subscribe(&mut self, listener: ProxyBuilder) -> Result<(), Error> {
        self.listeners.push(listener.timeout(SOON).lazy()?);
        Ok(())
    }

    fn announce(&self, text: String) -> Result<(), Error> {
        let listeners = self.listeners.clone();
        call::after_reply(move || {
            for listener in listeners {
                listener.oneway("hear", (&text,)).unwrap();
            }
        })
    }

    fn used(&self, one: Proxy, other: tasks::Proxy) -> (&'static str, &'static str) {
        (one.serializer().name(), other.serializer().name())
    }

    fn first(&self) -> Option<Proxy> {
        self.listeners.first().cloned()
    }

    fn itself(&self) -> Option<Object<Self>> {
        self.itself.as_ref()?.upgrade()
    }

    /// Where a third program is told that it is, by each way to tell.
    fn told(&self, other: Proxy) -> Result<Vec<Uri>, Error> {
        let itself = self.itself();
        let called = other.call("uri_of", (&itself,))?;
        let mut batch = other.batch();
        batch.call("uri_of", (&itself,))?;
        let mut told = batch.send_as::<Uri>()?;
        let blob = SerializedBlob::new(Serializer::Serpent, (), &itself)?;
        told.extend([called, other.call_blob("uri_in", &blob)?]);
        Ok(told)
    }

    async fn told_async(&self, other: tasks::Proxy) -> Result<Vec<Uri>, Error> {
        Ok(vec![other.call("uri_of", (self.itself(),)).await?])
    }

    fn make(&self) -> Result<BTreeMap<&'static str, Vec<Object<Made>>>, Error> {
        let made = Object::new(Made);
        self.daemon.register("made", &made)?;
        Ok(BTreeMap::from([("made", vec![made])]))
    }

    fn unmake(&self) {
        self.daemon.unregister("made");
    }

    fn unserved(&self) -> Object<Made> {
        Object::new(Made)
    }

    fn echo(&self, value: Value) -> Value {
        value
    }
}

/// Somebody else.
struct Third;

#[expose]
impl Third {
    fn uri_of(&self, it: Proxy) -> Uri {
        it.uri().clone()
    }

    fn uri_in(&self, blob: SerializedBlob) -> Result<Uri, Error> {
        Ok(self.uri_of(blob.decode()?))
    }
}

struct Made;

#[expose]
impl Made {
    fn name(&self) -> &'static str {
        "made"
    }

    #[oneway]
    fn forget(&self) {}

    #[attr]
    fn size(&self) -> u8 {
        1
    }
}

fn serve(driver: Driver) -> (antifreeze::Running, Uri) {
    serve_at(bind(driver, Default::default()))
}

fn serve_at(daemon: Daemon) -> (antifreeze::Running, Uri) {
    let server = Object::new(Server {
        daemon: daemon.handle(),
        listeners: Vec::new(),
        itself: None,
    });
    server.write().itself = Some(server.downgrade());
    let uri = daemon.register("server", &server).unwrap();
    // The handle does not keep it alive, so somebody else must not either.
    (daemon.start().unwrap(), uri)
}

fn connect(uri: &Uri, serializer: Serializer) -> Proxy {
    let builder = Proxy::builder(uri).unwrap().serializer(serializer);
    builder.timeout(SOON).connect().unwrap()
}

fn an_object_of_the_client_is_called_back(driver: Driver) {
    let (_running, uri) = serve(driver);
    let own = bind(driver, Default::default());
    let (told, hears) = mpsc::sync_channel(10);
    let listener = Object::new(Listener(told));
    own.register("listener", &listener).unwrap();
    let _own = own.start().unwrap();
    by_each(|serializer| {
        let server = connect(&uri, serializer);
        for method in ["greet", "greet_async"] {
            assert_eq!(server.call::<usize>(method, (&listener,)).unwrap(), 7);
            assert_eq!(next(&hears), "greeted");
        }
        server.call::<()>("subscribe", (&listener,)).unwrap();
        server.call::<()>("announce", ("news",)).unwrap();
        while hears.recv_timeout(SOON).unwrap() != "news" {}
        // What one client has left another one may have.
        let first: Proxy = server.call("first", ()).unwrap();
        first.call::<usize>("hear", ("directly",)).unwrap();
        assert_eq!(next(&hears), "directly");
    });
}

/// What is heard next, but for news, which come when they like.
fn next(hears: &mpsc::Receiver<String>) -> String {
    loop {
        let heard = hears.recv_timeout(SOON).unwrap();
        if heard != "news" {
            return heard;
        }
    }
}

fn a_callback_that_fails_is_an_error_where_it_was_called(driver: Driver) {
    let own = bind(driver, Default::default());
    let (told, _hears) = mpsc::sync_channel(1);
    let uri = own.register("listener", Listener(told)).unwrap();
    let _own = own.start().unwrap();
    let listener = connect(&uri, Serializer::Serpent);
    for _ in 0..2 {
        let error = listener.call::<()>("refuse", ()).unwrap_err();
        assert!(error.is_remote("builtins.ValueError"), "{error}");
        // Its connection ends, as with Pyro; another one will do.
        listener.release();
    }
}

fn a_method_returns_objects_as_proxies(driver: Driver) {
    let (_running, uri) = serve(driver);
    by_each(|serializer| {
        let server = connect(&uri, serializer);
        let made: BTreeMap<String, Vec<Proxy>> = server.call("make", ()).unwrap();
        let made = &made["made"][0];
        assert_eq!(made.call::<String>("name", ()).unwrap(), "made");
        assert_eq!(made.attr::<u8>("size").unwrap(), 1);
        // Objects are not let go of because nobody has a proxy any more.
        server.call::<()>("unmake", ()).unwrap();
        let error = made.call::<String>("name", ()).unwrap_err();
        assert!(error.is_remote("DaemonError"), "{error}");

        let itself: Proxy = server.call("itself", ()).unwrap();
        assert_eq!(itself.uri(), &uri);
        let echoed: u8 = itself.call("echo", (3,)).unwrap();
        assert_eq!(echoed, 3);
    });
}

fn an_object_that_no_daemon_serves_does_not_travel(driver: Driver) {
    let (_running, uri) = serve(driver);
    let server = connect(&uri, Serializer::Serpent);
    let error = server.call::<Value>("unserved", ()).unwrap_err();
    assert!(error.is_remote("builtins.TypeError"), "{error}");
    assert!(error.to_string().contains("a daemon serves"), "{error}");

    let error = server.call::<Value>("echo", (Object::new(Made),));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
}

fn an_object_of_two_daemons_is_that_of_either(driver: Driver) {
    let daemons = [(); 2].map(|()| bind(driver, Default::default()));
    let server = Object::new(Server {
        daemon: daemons[0].handle(),
        listeners: Vec::new(),
        itself: None,
    });
    server.write().itself = Some(server.downgrade());
    let uris = daemons
        .each_ref()
        .map(|daemon| daemon.register("server", &server).unwrap());
    let named = || -> Proxy { from_value(antifreeze::to_value(&server).unwrap()).unwrap() };
    assert_eq!(named().uri(), &uris[1]);
    let running = daemons.map(|daemon| daemon.start().unwrap());
    let asked = |uri| -> Proxy {
        connect(uri, Serializer::Serpent)
            .call("itself", ())
            .unwrap()
    };
    for uri in &uris {
        assert_eq!(asked(uri).uri(), uri);
    }
    running[1].daemon().unregister("server");
    assert_eq!(named().uri(), &uris[0]);
    assert_eq!(asked(&uris[0]).uri(), &uris[0]);
    running[1].daemon().register("server", &server).unwrap();
    running[0].daemon().unregister("server");
    assert_eq!(named().uri(), &uris[1]);
}

fn only_answers_name_the_address_that_the_client_uses(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("./u:{}", directory.path().join("server").display());
    let builder = driver.builder().also_at(&socket);
    let (_running, uri) = serve_at(builder.bind("localhost:0").unwrap());
    let other = bind(driver, Default::default());
    let third = Proxy::new(other.register("third", Third).unwrap()).unwrap();
    let _other = other.start().unwrap();

    let near: Uri = format!("PYRO:server@{socket}").parse().unwrap();
    let server = connect(&near, Serializer::Serpent);
    let itself: Proxy = server.call("itself", ()).unwrap();
    assert_eq!(itself.uri(), &near);
    for method in ["told", "told_async"] {
        let told: Vec<Uri> = server.call(method, (&third,)).unwrap();
        assert!(
            !told.is_empty() && told.iter().all(|told| *told == uri),
            "{told:?}"
        );
    }
    // Also after it has told others.
    let itself: Proxy = server.call("itself", ()).unwrap();
    assert_eq!(itself.uri(), &near);
}

fn a_proxy_keeps_what_belongs_to_it(driver: Driver) {
    let (_running, uri) = serve(driver);
    by_each(|serializer| {
        let builder = Proxy::builder(&uri).unwrap();
        let sent = builder.serializer(serializer).handshake("it is me");
        let sent = sent.lazy().unwrap();
        let server = connect(&uri, serializer);
        let arrived: Value = server.call("echo", (&sent,)).unwrap();
        let Value::Proxy(state) = &arrived else {
            panic!("{arrived:?}");
        };
        assert_eq!(state.handshake, Value::from("it is me"));
        let proxy: Proxy = from_value(arrived).unwrap();
        assert_eq!((proxy.uri(), proxy.serializer()), (&uri, serializer));
        let other: tasks::Proxy = server.call("echo", (proxy,)).unwrap();
        assert_eq!((other.uri(), other.serializer()), (&uri, serializer));
    });
}

/// What comes from clients is used as the daemon's settings say, above all for no longer.
fn a_proxy_that_arrives_has_the_settings_of_the_daemon(driver: Driver) {
    let settings = config(|config| {
        config.serializer = Serializer::Json;
        config.call_deadline = Some(Duration::from_millis(20));
    });
    let (_running, uri) = serve_at(bind(driver, settings));
    let server = connect(&uri, Serializer::Serpent);
    let sent = Proxy::new(&uri).unwrap();
    let used = |sent: Value| -> (String, String) { server.call("used", (&sent, &sent)).unwrap() };
    let json = ("json".to_owned(), "json".to_owned());
    assert_eq!(used(antifreeze::to_value(&sent).unwrap()), json);
    assert_eq!(used(uri.to_string().as_str().into()), json);

    // Nobody answers there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("PYRO:silent@{}", listener.local_addr().unwrap());
    for method in ["greet", "greet_async"] {
        let error = server.call::<usize>(method, (&silent,)).unwrap_err();
        assert!(error.is_remote("Pyro5.errors.PyroError"), "{error}");
    }
}

/// What comes with an answer is used as the proxy is that got it.
fn a_proxy_that_is_returned_has_the_settings_of_the_one_that_got_it(driver: Driver) {
    let (_running, uri) = serve(driver);
    let settings = || {
        config(|config| {
            config.serializer = Serializer::Json;
            config.call_deadline = Some(SOON);
        })
    };
    let server = Proxy::builder(&uri).unwrap().config(settings());
    let server = server.connect().unwrap();
    let used = |proxies: &[Proxy]| {
        let json = |proxy: &Proxy| proxy.serializer() == Serializer::Json;
        assert!(proxies.iter().all(json), "{proxies:?}");
    };
    let mut batch = server.batch();
    batch.call("itself", ()).unwrap();
    used(&[
        server.call("itself", ()).unwrap(),
        batch.send_as().unwrap().remove(0),
    ]);
    // Nobody answers there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("PYRO:silent@{}", listener.local_addr().unwrap());
    let hasty = config(|config| config.call_deadline = Some(Duration::from_millis(20)));
    let echo = Proxy::builder(&uri).unwrap().config(hasty).lazy().unwrap();
    let silent: Proxy = echo.within(SOON).call("echo", (silent,)).unwrap();
    assert_eq!(silent.bind().unwrap_err().kind(), ErrorKind::Timeout);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = tasks::Proxy::builder(&uri).unwrap().config(settings());
        let itself: tasks::Proxy = server.lazy().unwrap().call("itself", ()).await.unwrap();
        assert_eq!(itself.serializer(), Serializer::Json);
        let mut batch = itself.batch();
        batch.call("itself", ()).unwrap();
        let all: Vec<tasks::Proxy> = batch.send_as().await.unwrap();
        assert_eq!(all[0].serializer(), Serializer::Json);
    });
}

/// Also of a proxy that was made of a URI alone.
fn what_a_proxy_has_learned_travels_with_it(driver: Driver) {
    let (running, uri) = serve(driver);
    let made = running.daemon().register("made", Made).unwrap();
    let server = connect(&uri, Serializer::Serpent);
    let check = |sent: &Value, methods: &[&str], attrs: &[&str]| {
        let arrived: Value = server.call("echo", (sent,)).unwrap();
        let Value::Proxy(state) = arrived else {
            panic!("{arrived:?}");
        };
        let names = |names: &[&str]| strings(names.to_vec());
        assert_eq!((state.methods, state.attrs), (names(methods), names(attrs)));
    };
    let proxy = Proxy::new(&made).unwrap();
    check(&antifreeze::to_value(&proxy).unwrap(), &[], &[]);
    assert!(proxy.bind().unwrap() && !proxy.bind().unwrap());
    let known = ["forget", "name"];
    check(&antifreeze::to_value(&proxy).unwrap(), &known, &["size"]);
    check(
        &antifreeze::to_value(&proxy.pooled(2)).unwrap(),
        &known,
        &["size"],
    );
    proxy.release();
    assert!(proxy.bind().unwrap());

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = tasks::Proxy::new(&made).unwrap();
    runtime.block_on(async {
        assert!(proxy.bind().await.unwrap() && !proxy.bind().await.unwrap());
    });
    check(&antifreeze::to_value(&proxy).unwrap(), &known, &["size"]);
}

fn proxies_are_the_same_if_their_uris_are(driver: Driver) {
    let (_running, uri) = serve(driver);
    let other = Uri::new("other", uri.location().unwrap().clone()).unwrap();
    let proxies = [&uri, &uri, &other].map(|uri| Proxy::new(uri).unwrap());
    assert!(proxies[0] == proxies[1] && proxies[0] != proxies[2]);
    assert_eq!(HashSet::from(proxies).len(), 2);
    let typed = [&uri, &uri, &other].map(|uri| HearerProxy::new(Proxy::new(uri).unwrap()));
    assert!(typed[0] == typed[1] && typed[0] != typed[2]);
    assert_eq!(HashSet::from(typed).len(), 2);
    let [one, same, other] = [&uri, &uri, &other].map(|uri| tasks::Proxy::new(uri).unwrap());
    assert!(one == same && one != other);
    let typed = [&one, &same, &other].map(|proxy| AsyncHearerProxy::new(proxy.clone()));
    assert!(typed[0] == typed[1] && typed[0] != typed[2]);
    assert_eq!(HashSet::from(typed).len(), 2);
    assert_eq!(HashSet::from([one, same, other]).len(), 2);
}

fn a_handle_does_what_its_daemon_does(driver: Driver) {
    let (running, uri) = serve(driver);
    let handle = running.daemon().handle();
    assert_eq!(handle.uri_for("server").unwrap(), uri);
    let server = handle.proxy_for("server").unwrap();
    assert_eq!(server.call::<u8>("echo", (1,)).unwrap(), 1);
    assert_eq!(
        handle.proxy_for("nobody").unwrap_err().kind(),
        ErrorKind::Usage
    );

    let made = Object::new(Made);
    let unregisters: [&dyn Fn(); 2] = [&|| handle.unregister_object(&made), &|| {
        running.daemon().unregister_object(&made)
    }];
    for unregister in unregisters {
        let proxy = Proxy::new(handle.register(None, &made).unwrap()).unwrap();
        assert_eq!(proxy.call::<String>("name", ()).unwrap(), "made");
        unregister();
        let error = proxy.call::<String>("name", ()).unwrap_err();
        assert!(error.is_remote("DaemonError"), "{error}");
        // There is nothing to forget.
        unregister();

        let ids = ["one", "other"].map(|id| {
            let uri = running.daemon().replace(id, &made).unwrap();
            Proxy::new(uri).unwrap()
        });
        unregister();
        for proxy in ids {
            let error = proxy.call::<String>("name", ()).unwrap_err();
            assert!(error.to_string().contains("unknown object"), "{error}");
        }
    }
}

/// Python programs learn from it how many calls may run.
fn the_daemon_says_what_serves_it(driver: Driver) {
    let (running, _) = serve(driver);
    let daemon = running.daemon().proxy_for("Pyro.Daemon").unwrap();
    let info: String = daemon.call("info", ()).unwrap();
    let server = match driver {
        Driver::Threads => "Servertype: Antifreeze threads",
        Driver::EventLoop => "Servertype: Antifreeze event loop",
    };
    assert!(info.contains(server), "{info}");
}

fn a_proxy_is_made_of_an_id(driver: Driver) {
    let daemon = bind(driver, Default::default());
    let create = || Ok::<_, Error>(Made);
    daemon
        .register_class("class", InstanceMode::PerCall, create)
        .unwrap();
    daemon.register_local("local", || Made).unwrap();
    for id in ["class", "local"] {
        let Value::Proxy(state) = antifreeze::to_value(&daemon.proxy_for(id).unwrap()).unwrap()
        else {
            panic!("no proxy");
        };
        let (methods, attrs) = (vec!["forget", "name"], vec!["size"]);
        assert_eq!(
            (state.methods, state.attrs),
            (strings(methods), strings(attrs))
        );
        assert_eq!(state.oneway, ["forget"]);
    }
    let error = daemon.proxy_for("nobody").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let running = daemon.start().unwrap();
    let made = running.daemon().proxy_for("class").unwrap();
    assert_eq!(made.call::<String>("name", ()).unwrap(), "made");
}

fn strings(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn what_is_no_proxy_is_refused() {
    check(Value::from(5), "expected a URI or str");
    check(Value::from("no uri"), "uri");
    let mut state = antifreeze::ProxyState {
        uri: "PYRO:x@localhost:1".into(),
        oneway: Vec::new(),
        methods: Vec::new(),
        attrs: Vec::new(),
        handshake: Value::None,
        serializer: Some("pickle".into()),
    };
    check(state.clone().into(), "unknown serializer");
    state.serializer = None;
    let proxy: Proxy = from_value(state.into()).unwrap();
    assert_eq!(proxy.uri().object(), "x");

    fn check(value: Value, words: &str) {
        let error = from_value::<Proxy>(value).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_handle_of_a_daemon_that_is_gone_registers_nothing() {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let handle = daemon.handle();
    drop(daemon);
    let error = handle.register("made", Made).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(handle.uri_for("made").unwrap_err().kind(), ErrorKind::Usage);
    let error = handle.proxy_for("made").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    handle.unregister("made");
    handle.unregister_object(&Object::new(Made));
}

crate::on_both_drivers!(
    an_object_of_the_client_is_called_back,
    a_callback_that_fails_is_an_error_where_it_was_called,
    a_method_returns_objects_as_proxies,
    an_object_that_no_daemon_serves_does_not_travel,
    an_object_of_two_daemons_is_that_of_either,
    only_answers_name_the_address_that_the_client_uses,
    a_proxy_keeps_what_belongs_to_it,
    a_proxy_that_arrives_has_the_settings_of_the_daemon,
    a_proxy_that_is_returned_has_the_settings_of_the_one_that_got_it,
    what_a_proxy_has_learned_travels_with_it,
    proxies_are_the_same_if_their_uris_are,
    a_handle_does_what_its_daemon_does,
    the_daemon_says_what_serves_it,
    a_proxy_is_made_of_an_id,
);
