//! A key that two programs agree on, by numbers of 2048 bits.

use antifreeze::num_bigint::{self, BigUint};
use antifreeze::{BigInt, Exception, InstanceMode, expose};

use crate::{Guest, Stage};

/// The prime of group 14 of RFC 3526.
const PRIME: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
    EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
    83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
    15728E5A8AACAA68FFFFFFFFFFFFFFFF";

/// One side of the exchange.
struct Side {
    prime: BigUint,
    private: BigUint,
}

impl Side {
    fn new() -> anyhow::Result<Self> {
        let random: Vec<u8> = (0..5)
            .flat_map(|_| uuid::Uuid::new_v4().into_bytes())
            .collect();
        let prime = BigUint::parse_bytes(PRIME.as_bytes(), 16);
        Ok(Self {
            prime: prime.ok_or_else(|| anyhow::anyhow!("no prime"))?,
            private: BigUint::from_bytes_be(&random),
        })
    }

    fn public(&self) -> BigInt {
        let public = BigUint::from(2_u8).modpow(&self.private, &self.prime);
        num_bigint::BigInt::from(public).into()
    }

    /// Prints the secret that this side and the one of this public key share.
    fn agree(&self, other: &BigInt) -> Result<(), Exception> {
        let wrong = || Exception::new("builtins.ValueError", "other key is not a valid public key");
        let other = other.0.to_biguint().ok_or_else(wrong)?;
        if other <= BigUint::from(2_u8) || other >= &self.prime - 1_u8 {
            return Err(wrong());
        }
        println!("secret = {:x}", other.modpow(&self.private, &self.prime));
        Ok(())
    }
}

struct KeyExchange(Side);

#[expose]
impl KeyExchange {
    fn exchange_key(&self, other_public_key: BigInt) -> Result<BigInt, Exception> {
        self.0.agree(&other_public_key)?;
        Ok(self.0.public())
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || {
        println!("New KeyExchange, initializing Diffie-Hellman");
        Side::new()
            .map(KeyExchange)
            .map_err(|error| error.to_string())
    };
    let uri = stage
        .daemon
        .register_class(None, InstanceMode::Session, create)?;
    stage.name("example.dh.keyexchange", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let side = Side::new()?;
    let exchange = guest.proxy("PYRONAME:example.dh.keyexchange")?;
    let other: BigInt = exchange.call("exchange_key", (side.public(),))?;
    Ok(side.agree(&other)?)
}
