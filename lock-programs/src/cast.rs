//! The agents of a program at work: real threads and real tasks that do as they are told.

use std::collections::VecDeque;
use std::fs::File;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::Mutex as Plain;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use antifreeze_sync::{Frame, Site, named_task};

use crate::free;
use crate::program::{Kind, Program, Step};
use crate::world::{End, Hands, Hook, TaskHands, World};

/// What an agent is told to do.
pub(crate) enum Command {
    /// One step, with this time-out.
    Take(Step, Duration),
    /// To sleep for so long, as a thread may on a busy machine.
    Dawdle(Duration),
    /// All its steps, at its own pace.
    Run(free::Part),
    /// To let go of everything and end.
    Finish,
}

/// What an agent tells.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) agent: usize,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// It is there, and this is its frame.
    Started(u64, Option<Watch>),
    /// A task sleeps in the middle of a step, and what it had been asked before.
    Sleeps(u64),
    /// One part of what it wants is had.
    Got(usize),
    Ended(End),
    /// It has ended.
    Gone,
}

/// All agents of a program.
pub(crate) struct Cast {
    /// Its locks and agents are named after it.
    pub(crate) name: String,
    pub(crate) world: Arc<World>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// One of them, as seen from outside.
pub(crate) struct Actor {
    pub(crate) frame: u64,
    commands: Commands,
    hook: Option<Arc<Hook>>,
    abort: Option<tokio::task::AbortHandle>,
    watch: Option<Watch>,
}

enum Commands {
    Thread(mpsc::Sender<Command>),
    Task(Arc<Mailbox>),
}

/// Commands for a task. It has its own waker here only while it waits for one.
#[derive(Default)]
struct Mailbox(Plain<(VecDeque<Command>, Option<Waker>)>);

impl Mailbox {
    fn send(&self, command: Command) {
        let waker = {
            let mut inner = self.0.lock().expect("not poisoned");
            inner.0.push_back(command);
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn receive(&self) -> Command {
        poll_fn(|context| {
            let mut inner = self.0.lock().expect("not poisoned");
            match inner.0.pop_front() {
                Some(command) => {
                    inner.1 = None;
                    Poll::Ready(command)
                }
                None => {
                    inner.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Where an agent tells what it does.
#[derive(Clone)]
struct Post {
    agent: usize,
    sender: mpsc::Sender<Event>,
}

impl Post {
    fn tell(&self, what: What) {
        // Nobody may listen any more, if the program was given up.
        let _ = self.sender.send(Event {
            agent: self.agent,
            at: Instant::now(),
            what,
        });
    }
}

/// Tells at its end that an agent has gone.
struct Goes(Post);

impl Drop for Goes {
    fn drop(&mut self) {
        self.0.tell(What::Gone);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that are used again for one program after the other, and where tasks run.
pub(crate) struct Crew {
    idle: Vec<mpsc::Sender<Job>>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Every thread is a new one.
    pub(crate) fresh: bool,
    /// For up to how long threads that are led sleep before each step.
    pub(crate) dawdle: Duration,
}

impl Crew {
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Self {
        Self {
            idle: Vec::new(),
            runtime,
            fresh: false,
            dawdle: Duration::ZERO,
        }
    }

    /// Runs a job on a thread that has nothing else to do. It is back when the next cast is made,
    /// unless it is left behind.
    fn run(&mut self, job: Job) -> mpsc::Sender<Job> {
        let worker = match self.idle.pop() {
            Some(worker) if !self.fresh => worker,
            _ => {
                let (sender, jobs) = mpsc::channel::<Job>();
                let spawned = std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || jobs.into_iter().for_each(|job| job()));
                spawned.expect("a thread can be started");
                sender
            }
        };
        worker.send(job).expect("a worker does not end");
        worker
    }
}

impl Cast {
    /// Starts the agents of a program, in the order of their numbers.
    pub(crate) fn start(program: &Program, name: &str, crew: &mut Crew) -> Self {
        let world = Arc::new(World::new(program, name));
        let program_name = name.to_owned();
        let (sender, events) = mpsc::channel();
        let mut busy = Vec::new();
        let mut actors = Vec::new();
        let mut early = VecDeque::new();
        for (number, agent) in program.agents.iter().enumerate() {
            let post = Post {
                agent: number,
                sender: sender.clone(),
            };
            let name = format!("{name}#{number}");
            let actor = match agent.kind {
                Kind::Task => task(&world, post, &name, &crew.runtime),
                kind => {
                    let (commands, receiver) = mpsc::channel();
                    let inner = Arc::clone(&world);
                    let frame = (kind == Kind::Call).then(|| Frame::new(name.as_str()));
                    let job = move || match frame {
                        Some(frame) => frame.enter(|| thread(&inner, &post, &receiver)),
                        None => thread(&inner, &post, &receiver),
                    };
                    if program.is_joined(number) && kind == Kind::Thread {
                        let handle = antifreeze_sync::thread::named(name, job);
                        *world.threads[number].lock().expect("not poisoned") = Some(handle);
                    } else {
                        busy.push(crew.run(Box::new(job)));
                    }
                    Actor {
                        frame: 0,
                        commands: Commands::Thread(commands),
                        hook: None,
                        abort: None,
                        watch: None,
                    }
                }
            };
            actors.push(actor);
            // Frames are numbered in the order in which they are made.
            if crew.fresh && agent.kind != Kind::Task {
                loop {
                    let event: Event = events.recv().expect("an agent starts");
                    let started = event.agent == number;
                    early.push_back(event);
                    if started {
                        break;
                    }
                }
            }
        }
        for _ in program
            .agents
            .iter()
            .filter(|agent| agent.kind != Kind::Task)
        {
            let event = early
                .pop_front()
                .unwrap_or_else(|| events.recv().expect("an agent starts"));
            let What::Started(frame, watch) = event.what else {
                panic!("it starts first")
            };
            actors[event.agent].frame = frame;
            actors[event.agent].watch = watch;
        }
        if !crew.fresh {
            crew.idle.append(&mut busy);
        }
        Self {
            name: program_name,
            world,
            actors,
            events,
        }
    }

    /// Tells an agent what to do.
    pub(crate) fn tell(&self, agent: usize, command: Command) {
        match &self.actors[agent].commands {
            // It may be gone if the program was given up.
            Commands::Thread(commands) => drop(commands.send(command)),
            Commands::Task(mailbox) => mailbox.send(command),
        }
    }

    /// Which agent has this frame.
    pub(crate) fn agent(&self, frame: u64) -> Option<usize> {
        self.actors.iter().position(|actor| actor.frame == frame)
    }

    pub(crate) fn hook(&self, agent: usize) -> Option<&Hook> {
        self.actors[agent].hook.as_deref()
    }

    /// Ends a task from outside, wherever it is.
    pub(crate) fn abort(&self, agent: usize) -> bool {
        self.actors[agent]
            .abort
            .as_ref()
            .map(tokio::task::AbortHandle::abort)
            .is_some()
    }

    /// Whether the thread of an agent sleeps.
    pub(crate) fn sleeps(&mut self, agent: usize) -> bool {
        let actor = &mut self.actors[agent];
        match &mut actor.watch {
            Some(watch) => watch.sleeps(),
            None => antifreeze_sync::detector::is_waiting(actor.frame),
        }
    }

    /// Whether an agent waits for a lock, by the detector's own account.
    pub(crate) fn is_waiting(&self, agent: usize) -> bool {
        antifreeze_sync::detector::is_waiting(self.actors[agent].frame)
    }

    /// Leaves threads behind that will never come back.
    pub(crate) fn abandon(self, crew: &mut Crew) {
        crew.idle.clear();
        for actor in &self.actors {
            if let Some(abort) = &actor.abort {
                abort.abort();
            }
        }
    }
}

fn thread(world: &Arc<World>, post: &Post, commands: &mpsc::Receiver<Command>) {
    post.tell(What::Started(
        antifreeze_sync::frame::current(),
        Watch::here(),
    ));
    let _gone = Goes(post.clone());
    {
        let mut hands = Hands::new(world);
        while let Ok(command) = commands.recv() {
            match command {
                Command::Take(step, timeout) => post.tell(What::Ended(hands.take(&step, timeout))),
                // In earnest: it is the kernel that is asked whether a thread sleeps.
                Command::Dawdle(time) => std::thread::sleep(time),
                Command::Run(mut part) => part.run(&mut hands),
                Command::Finish => break,
            }
        }
        while let Some(thing) = hands.newest() {
            hands.take(&Step::Release(thing), Duration::ZERO);
        }
    }
}

fn task(world: &Arc<World>, post: Post, name: &str, runtime: &tokio::runtime::Handle) -> Actor {
    let mailbox = Arc::new(Mailbox::default());
    let hook = Arc::new(Hook::default());
    let inner = Arc::clone(world);
    let (inner_mailbox, inner_hook, inner_post) =
        (Arc::clone(&mailbox), Arc::clone(&hook), post.clone());
    let gone = Goes(post.clone());
    let task = named_task(name, async move {
        // Dropped last, also when the task is aborted, even before it has begun.
        let _gone = gone;
        {
            let mut hands = TaskHands::new(&inner);
            loop {
                match inner_mailbox.receive().await {
                    Command::Take(step, timeout) => {
                        let mut got = |part| inner_post.tell(What::Got(part));
                        let end = hands.take(&step, timeout, &inner_hook, &mut got).await;
                        inner_post.tell(What::Ended(end));
                    }
                    Command::Dawdle(_) => {}
                    Command::Run(mut part) => part.run_task(&mut hands, &inner_hook).await,
                    Command::Finish => break,
                }
            }
            while let Some(thing) = hands.newest() {
                let release = Step::Release(thing);
                hands
                    .take(&release, Duration::ZERO, &inner_hook, &mut |_| {})
                    .await;
            }
        }
    });
    let frame = task.frame();
    let outer_hook = Arc::clone(&hook);
    let spawned = runtime.spawn(async move {
        outer_hook
            .around(task, |asked| post.tell(What::Sleeps(asked)))
            .await;
    });
    Actor {
        frame,
        commands: Commands::Task(mailbox),
        hook: Some(hook),
        abort: Some(spawned.abort_handle()),
        watch: None,
    }
}

/// Looks whether a thread sleeps, as the kernel sees it: so nothing of the locks is asked.
#[derive(Debug)]
pub(crate) struct Watch {
    state: File,
    /// How often it had run when it was last seen asleep.
    slices: Option<String>,
    schedule: File,
}

impl Watch {
    /// Watches this thread.
    fn here() -> Option<Self> {
        let here = std::fs::read_link("/proc/thread-self").ok()?;
        let path = std::path::Path::new("/proc").join(here);
        Some(Self {
            state: File::open(path.join("stat")).ok()?,
            slices: None,
            schedule: File::open(path.join("schedstat")).ok()?,
        })
    }

    /// Whether it sleeps and has slept since the last time that this was asked.
    fn sleeps(&mut self) -> bool {
        let asleep = read(&self.state).is_some_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
        });
        let slices = if asleep { read(&self.schedule) } else { None };
        let still = slices.is_some() && slices == self.slices;
        self.slices = slices;
        still
    }
}

#[cfg(unix)]
fn read(file: &File) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let mut buffer = [0; 512];
    let length = file.read_at(&mut buffer, 0).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[cfg(not(unix))]
fn read(_: &File) -> Option<String> {
    None
}

/// Whether a place in the code is in this program.
pub(crate) fn is_here(site: &Site) -> bool {
    site.file().contains("lock-programs")
}
