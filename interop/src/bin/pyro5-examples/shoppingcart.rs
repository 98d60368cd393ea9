//! Things that belong to one client, but stay in the server.

use std::collections::BTreeMap;

use antifreeze::{DaemonHandle, Error, Exception, Object, Proxy, Uri, expose};
use antifreeze_interop::{equal, raised};
use anyhow::{Context as _, ensure};

use crate::{Guest, Stage};

const INVENTORY: [(&str, f64); 5] = [
    ("bread", 1.50),
    ("chocolate", 3.99),
    ("milk", 0.80),
    ("pasta", 0.50),
    ("whiskey", 24.99),
];

#[derive(Default)]
struct ShoppingCart {
    contents: Vec<String>,
}

#[expose]
impl ShoppingCart {
    fn purchase(&mut self, item: String) {
        println!("({item} put into shoppingcart)");
        self.contents.push(item);
    }

    fn empty(&mut self) {
        self.contents.clear();
    }

    #[rename = "getContents"]
    fn contents(&self) -> &[String] {
        &self.contents
    }
}

struct Shop {
    daemon: DaemonHandle,
    customers: BTreeMap<String, (Uri, Object<ShoppingCart>)>,
}

impl Shop {
    fn cart(&self, name: &str) -> Result<&(Uri, Object<ShoppingCart>), Exception> {
        let cart = self.customers.get(name);
        cart.ok_or_else(|| Exception::new("builtins.KeyError", name))
    }
}

fn receipt(title: Option<String>, contents: &[String]) -> Result<String, Exception> {
    let mut lines = Vec::from_iter(title);
    let mut total = 0.0;
    for item in contents {
        let goods = INVENTORY.iter().find(|(name, _)| name == item);
        let (name, price) = goods.ok_or_else(|| Exception::new("builtins.KeyError", &**item))?;
        total += price;
        lines.push(format!("{name:>13}  {price:.2}"));
    }
    lines.push(format!("\n{:>13}  {total:.2}", "total:"));
    Ok(lines.join("\n"))
}

#[expose]
impl Shop {
    fn enter(&mut self, name: String) -> Result<Object<ShoppingCart>, Error> {
        println!("Customer {name} enters the store.");
        let cart = Object::new(ShoppingCart::default());
        let uri = self.daemon.register(None, &cart)?;
        self.customers.insert(name, (uri, cart.clone()));
        Ok(cart)
    }

    fn customers(&self) -> Vec<&String> {
        self.customers.keys().collect()
    }

    fn goods(&self) -> BTreeMap<&'static str, f64> {
        INVENTORY.into()
    }

    #[rename = "payByName"]
    fn pay_by_name(&self, name: &str) -> Result<String, Exception> {
        println!("Customer {name} goes to the counter to pay.");
        let mut cart = self.cart(name)?.1.write();
        let receipt = receipt(Some(format!("Receipt for {name}.")), &cart.contents)?;
        cart.empty();
        Ok(receipt)
    }

    /// The client has but a proxy of its cart, and so what comes is one.
    #[rename = "payCart"]
    fn pay_cart(&self, cart: Proxy) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let contents: Vec<String> = cart.call("getContents", ())?;
        let receipt = receipt(None, &contents)?;
        cart.call::<()>("empty", ())?;
        Ok(receipt)
    }

    fn leave(&mut self, name: &str) -> Result<(), Exception> {
        println!("Customer {name} leaves.");
        let (uri, cart) = self.cart(name)?;
        if !cart.read().contents.is_empty() {
            println!("  it is not empty, they are trying to shoplift!");
            let text = "attempt to steal a full cart prevented";
            return Err(Exception::new("builtins.Exception", text));
        }
        self.daemon.unregister(uri.object());
        self.customers.remove(name);
        Ok(())
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let shop = Shop {
        daemon: stage.daemon.handle(),
        customers: BTreeMap::new(),
    };
    let uri = stage.daemon.register(None, shop)?;
    stage.name("example.shop", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let shop = guest.proxy("PYRONAME:example.shop")?;
    let enter = |name: &str| shop.call::<Proxy>("enter", (name,));
    let (harry, sally) = (enter("Harry")?, enter("Sally")?);
    let shoplifter = enter("shoplifter")?;
    let goods: BTreeMap<String, f64> = shop.call("goods", ())?;
    let purchases = [
        (&harry, &["bread", "whiskey"][..]),
        (&sally, &["milk", "milk", "pasta"]),
        (&shoplifter, &["chocolate"]),
    ];
    for (cart, items) in purchases {
        for item in items {
            cart.call::<()>("purchase", (item,))?;
        }
        equal(cart.call::<Vec<String>>("getContents", ())?, items)?;
    }
    let customers: Vec<String> = shop.call("customers", ())?;
    equal(customers, ["Harry", "Sally", "shoplifter"])?;

    let price = |item: &str| goods.get(item).context("no such goods");
    let total = price("bread")? + price("whiskey")?;
    let receipt: String = shop.call("payByName", ("Harry",))?;
    ensure!(receipt.starts_with("Receipt for Harry."), "{receipt}");
    ensure!(
        receipt.ends_with(&format!("total:  {total:.2}")),
        "{receipt}"
    );
    let total = 2.0 * price("milk")? + price("pasta")?;
    let receipt: String = shop.call("payCart", (&sally,))?;
    ensure!(
        receipt.ends_with(&format!("total:  {total:.2}")),
        "{receipt}"
    );
    for (cart, name) in [(&harry, "Harry"), (&sally, "Sally")] {
        equal(cart.call::<Vec<String>>("getContents", ())?, [""; 0])?;
        shop.call::<()>("leave", (name,))?;
    }
    raised(
        shop.call::<()>("leave", ("shoplifter",)),
        "builtins.Exception",
        "attempt to steal a full cart prevented",
    )?;
    // It went with him.
    raised(
        harry.call::<()>("purchase", ("crap",)),
        "Pyro5.errors.DaemonError",
        "unknown object",
    )?;
    Ok(())
}
