//! What belongs to a client is closed when the client is gone, however it went.

use std::sync::Arc;

use antifreeze::{DaemonBuilder, Error, call, expose};
use antifreeze_interop::equal;
use parking_lot::Mutex;

use crate::{Guest, Stage};

struct Resource {
    name: String,
    allocated: Arc<Mutex<Vec<String>>>,
}

impl call::Resource for Resource {
    fn close(&self) {
        println!("Resource: closing {}", self.name);
        self.allocated.lock().retain(|name| *name != self.name);
    }
}

#[derive(Default)]
struct Service {
    allocated: Arc<Mutex<Vec<String>>>,
    /// Tracking does not keep them.
    resources: Vec<Arc<Resource>>,
}

#[expose]
impl Service {
    fn allocate(&mut self, name: String) -> Result<(), Error> {
        println!("service: allocated resource {name}");
        self.allocated.lock().push(name.clone());
        let allocated = Arc::clone(&self.allocated);
        let resource = Arc::new(Resource { name, allocated });
        call::track_resource(&resource)?;
        self.resources.push(resource);
        Ok(())
    }

    fn free(&mut self, name: &str) -> Result<(), Error> {
        for resource in self.resources.extract_if(.., |known| known.name == name) {
            call::untrack_resource(&resource)?;
            call::Resource::close(&*resource);
        }
        Ok(())
    }

    fn list(&self) -> Vec<String> {
        self.allocated.lock().clone()
    }
}

pub(crate) fn watch(builder: DaemonBuilder) -> DaemonBuilder {
    builder.on_disconnect(|_| println!("client disconnects"))
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.register("service", Service::default())?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let uri = guest.word(0)?;
    let service = guest.proxy(uri)?;
    let list = || service.call::<Vec<String>>("list", ());
    equal(list()?, [""; 0])?;
    service.call::<()>("allocate", ("first",))?;
    guest.proxy(uri)?.call::<()>("allocate", ("second",))?;
    // Whoever allocated it is gone.
    while list()? != ["first"] {
        std::thread::sleep(guest.second / 100);
    }
    service.call::<()>("free", ("first",))?;
    equal(list()?, [""; 0])
}
