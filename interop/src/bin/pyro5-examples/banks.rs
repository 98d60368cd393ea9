//! Two banks with other rules, found in the name server.

use std::collections::BTreeMap;
use std::convert::Infallible;

use antifreeze::{Exception, InstanceMode, NameServer, Proxy, expose};
use antifreeze_interop::{equal, raised};

use crate::{Guest, Stage};

struct Bank {
    name: &'static str,
    may_overdraw: bool,
    accounts: BTreeMap<String, f64>,
}

fn unknown() -> Exception {
    Exception::new("builtins.KeyError", "unknown account")
}

fn wrong(text: &str) -> Exception {
    Exception::new("builtins.ValueError", text)
}

#[expose]
impl Bank {
    fn name(&self) -> &'static str {
        self.name
    }

    #[rename = "createAccount"]
    fn create_account(&mut self, name: String) -> Result<(), Exception> {
        if self.accounts.contains_key(&name) {
            return Err(wrong("Account already exists"));
        }
        self.accounts.insert(name, 0.0);
        Ok(())
    }

    #[rename = "deleteAccount"]
    fn delete_account(&mut self, name: &str) -> Result<(), Exception> {
        self.accounts.remove(name).map(drop).ok_or_else(unknown)
    }

    fn deposit(&mut self, name: &str, amount: f64) -> Result<(), Exception> {
        *self.accounts.get_mut(name).ok_or_else(unknown)? += amount;
        Ok(())
    }

    fn withdraw(&mut self, name: &str, amount: f64) -> Result<(), Exception> {
        let balance = self.accounts.get_mut(name).ok_or_else(unknown)?;
        if amount > *balance && !self.may_overdraw {
            return Err(wrong("insufficent balance"));
        }
        *balance -= amount;
        Ok(())
    }

    fn balance(&self, name: &str) -> Result<f64, Exception> {
        self.accounts.get(name).copied().ok_or_else(unknown)
    }

    #[rename = "allAccounts"]
    fn all_accounts(&self) -> BTreeMap<String, f64> {
        self.accounts.clone()
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    for (id, name, may_overdraw) in [("rabobank", "Rabobank", true), ("abn", "ABN bank", false)] {
        let create = move || {
            Ok::<_, Infallible>(Bank {
                name,
                may_overdraw,
                accounts: BTreeMap::new(),
            })
        };
        let uri = stage
            .daemon
            .register_class(id, InstanceMode::Single, create)?;
        stage.name(&format!("example.banks.{id}"), &uri)?;
    }
    Ok(())
}

fn do_business(bank: &Proxy, customer: &str) -> anyhow::Result<()> {
    bank.call::<()>("createAccount", (customer,))?;
    raised(
        bank.call::<()>("createAccount", (customer,)),
        "builtins.ValueError",
        "Account already exists",
    )?;
    bank.call::<()>("deposit", (customer, 200.0))?;
    bank.call::<()>("deposit", (customer, 500.75))?;
    equal(bank.call::<f64>("balance", (customer,))?, 700.75)?;
    bank.call::<()>("withdraw", (customer, 400.0))?;
    let overdrawn = bank.call::<()>("withdraw", (customer, 400.0));
    let balance: f64 = bank.call("balance", (customer,))?;
    if bank.call::<String>("name", ())? == "Rabobank" {
        overdrawn?;
        equal(balance, -99.25)?;
    } else {
        raised(overdrawn, "builtins.ValueError", "insufficent balance")?;
        equal(balance, 300.75)?;
    }
    raised(
        bank.call::<()>("withdraw", ("GOD", 2222.22)),
        "builtins.KeyError",
        "unknown account",
    )?;
    raised(
        bank.call::<()>("deleteAccount", ("GOD",)),
        "builtins.KeyError",
        "unknown account",
    )?;
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let names = NameServer::locate(&guest.config)?;
    let banks = names.list(Some("example.banks."))?;
    equal(banks.len(), 2)?;
    for uri in banks.values() {
        let bank = guest.proxy(uri)?;
        do_business(&bank, "Irmen")?;
        do_business(&bank, "Suzy")?;
        let accounts: BTreeMap<String, f64> = bank.call("allAccounts", ())?;
        equal(accounts.keys().collect::<Vec<_>>(), ["Irmen", "Suzy"])?;
    }
    Ok(())
}
