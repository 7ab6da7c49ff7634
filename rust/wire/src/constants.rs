//! Constants of the local wire. Generated from `ffi/protocol/constants.toml` by `./make gen`; do not edit.

/// The major version of the local wire.
pub const VERSION: u8 = 1;

/// Limits and sizes.
pub mod limits {
    /// The length prefix.
    pub const LENGTH_BYTES: u32 = 4;
    /// Fixed header, the 4-byte length not counted.
    pub const HEADER_BYTES: u32 = 56;
    /// Connections per socket.
    pub const CONNECTIONS_MAX: u32 = 4096;
    /// Longest text of an error frame.
    pub const ERROR_TEXT_BYTES_MAX: u32 = 4096;
    /// Keys in one batch request of the ifr service.
    pub const IFR_BATCH_KEYS_MAX: u32 = 4096;
    /// Requests in flight per connection.
    pub const REQUESTS_IN_FLIGHT_MAX: u32 = 4096;
    /// Most event frames a caller may allow at once.
    pub const CREDIT_MAX: u32 = 65536;
    /// Longest byte key of the ifr service.
    pub const IFR_KEY_BYTES_MAX: u32 = 65536;
    /// Longest TLV area, its own 4-byte length not counted.
    pub const TLV_AREA_BYTES_MAX: u32 = 65536;
    /// Longest frame, the 4-byte length not counted.
    pub const FRAME_BYTES_MAX: u32 = 16777216;
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// First frame of each side: version, features, service, limits.
    Hello = 1,
    /// Asks a method; `request_id` names it, `credit` allows that many events.
    Request = 2,
    /// Ends a request that succeeded.
    Reply = 3,
    /// Ends a request that failed: `status` and a text body. Id 0: ends the connection.
    Error = 4,
    /// One item of a streamed answer; uses one credit.
    Event = 5,
    /// The caller no longer wants the answer.
    Cancel = 6,
    /// The caller allows `credit` more events.
    Credit = 7,
    /// Asks whether the other side is alive.
    Ping = 8,
    /// Answers a ping with its id.
    Pong = 9,
    /// No new requests are accepted; accepted ones are answered.
    Goaway = 10,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Hello,
        Self::Request,
        Self::Reply,
        Self::Error,
        Self::Event,
        Self::Cancel,
        Self::Credit,
        Self::Ping,
        Self::Pong,
        Self::Goaway,
    ];

    /// The number on the wire.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its name, as in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Request => "request",
            Self::Reply => "reply",
            Self::Error => "error",
            Self::Event => "event",
            Self::Cancel => "cancel",
            Self::Credit => "credit",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Goaway => "goaway",
        }
    }
}

impl TryFrom<u8> for Kind {
    type Error = u8;
    fn try_from(number: u8) -> Result<Self, u8> {
        Ok(match number {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::Error,
            5 => Self::Event,
            6 => Self::Cancel,
            7 => Self::Credit,
            8 => Self::Ping,
            9 => Self::Pong,
            10 => Self::Goaway,
            other => return Err(other),
        })
    }
}

/// A socket that serves the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Service {
    /// hypermesh_transport.sock
    Transport = 1,
    /// hypermesh_state.sock
    State = 2,
    /// hypermesh_scheduler.sock
    Scheduler = 3,
    /// hypermesh_consensus.sock
    Consensus = 4,
    /// hypermesh_metrics.sock
    Metrics = 5,
    /// mfn_ifr.sock
    Ifr = 6,
    /// mfn_dsr.sock
    Dsr = 7,
    /// mfn_alm.sock
    Alm = 8,
    /// mfn_cpe.sock
    Cpe = 9,
}

impl Service {
    /// All of them, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Transport,
        Self::State,
        Self::Scheduler,
        Self::Consensus,
        Self::Metrics,
        Self::Ifr,
        Self::Dsr,
        Self::Alm,
        Self::Cpe,
    ];

    /// The number on the wire.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its name, as in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::State => "state",
            Self::Scheduler => "scheduler",
            Self::Consensus => "consensus",
            Self::Metrics => "metrics",
            Self::Ifr => "ifr",
            Self::Dsr => "dsr",
            Self::Alm => "alm",
            Self::Cpe => "cpe",
        }
    }
}

impl TryFrom<u8> for Service {
    type Error = u8;
    fn try_from(number: u8) -> Result<Self, u8> {
        Ok(match number {
            1 => Self::Transport,
            2 => Self::State,
            3 => Self::Scheduler,
            4 => Self::Consensus,
            5 => Self::Metrics,
            6 => Self::Ifr,
            7 => Self::Dsr,
            8 => Self::Alm,
            9 => Self::Cpe,
            other => return Err(other),
        })
    }
}

impl Service {
    /// File name of the service's socket.
    pub fn socket_name(self) -> &'static str {
        match self {
            Self::Transport => "hypermesh_transport.sock",
            Self::State => "hypermesh_state.sock",
            Self::Scheduler => "hypermesh_scheduler.sock",
            Self::Consensus => "hypermesh_consensus.sock",
            Self::Metrics => "hypermesh_metrics.sock",
            Self::Ifr => "mfn_ifr.sock",
            Self::Dsr => "mfn_dsr.sock",
            Self::Alm => "mfn_alm.sock",
            Self::Cpe => "mfn_cpe.sock",
        }
    }
}
/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ContentType {
    /// The body is empty.
    None = 0,
    /// A fixed little-endian layout of the method.
    Fixed = 1,
    /// A proto3 message of the method.
    Protobuf = 2,
    /// Opaque bytes.
    Bytes = 3,
    /// UTF-8 text.
    Text = 4,
}

impl ContentType {
    /// All of them, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::None,
        Self::Fixed,
        Self::Protobuf,
        Self::Bytes,
        Self::Text,
    ];

    /// The number on the wire.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its name, as in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fixed => "fixed",
            Self::Protobuf => "protobuf",
            Self::Bytes => "bytes",
            Self::Text => "text",
        }
    }
}

impl TryFrom<u8> for ContentType {
    type Error = u8;
    fn try_from(number: u8) -> Result<Self, u8> {
        Ok(match number {
            0 => Self::None,
            1 => Self::Fixed,
            2 => Self::Protobuf,
            3 => Self::Bytes,
            4 => Self::Text,
            other => return Err(other),
        })
    }
}

/// Bits of the header's flags.
pub mod flag {
    /// A TLV area stands between header and body.
    pub const TLV: u16 = 1;
    /// The trace is sampled.
    pub const SAMPLED: u16 = 2;
}

/// Types of TLV entries.
pub mod tlv {
    /// HELLO: u64 bit set of features.
    pub const FEATURES: u16 = 1;
    /// HELLO: u32 frame bytes, u32 requests in flight, u32 connections.
    pub const LIMITS: u16 = 2;
    /// HELLO: UTF-8 name and version of the program.
    pub const SOFTWARE: u16 = 3;
}

/// Bits of the features that HELLO announces.
pub mod feature {
    /// Reserved: frames by a ring in shared memory. Nobody announces it yet.
    pub const SHARED_MEMORY: u64 = 1;
}

/// What a key of the ifr service is.
pub mod ifr_key {
    /// 32 bytes that are evenly spread, such as a BLAKE3 hash.
    pub const DIGEST: u8 = 1;
    /// Bytes of any form and length up to the limit.
    pub const BYTES: u8 = 2;
}

/// Methods, per service.
pub mod method {
    /// Methods of the transport service.
    pub mod transport {
        /// TransportStatus of this node.
        pub const STATUS: u16 = 1;
        /// PeerList: every known peer, connected or not.
        pub const PEERS: u16 = 2;
        /// PingRequest; one PingEvent per probe, then a PingReply.
        pub const PING: u16 = 3;
        /// InviteRequest; an Invitation in text form.
        pub const INVITE: u16 = 4;
        /// JoinRequest; a JoinReply once the issuer accepted.
        pub const JOIN: u16 = 5;
        /// ForgetRequest: the peer is no member any more.
        pub const FORGET: u16 = 6;
        /// ConnectedRequest; ConnectedReply: peers that are connected, after a wait for a first one.
        pub const CONNECTED: u16 = 7;
        /// HoldersRequest; HoldersReply: those that say they have a block.
        pub const HOLDERS: u16 = 8;
        /// FetchRequest: moves what a session of state wants; Fetched so far as events, and in the end.
        pub const FETCH: u16 = 9;
        /// ProcessReport of the process that serves this socket.
        pub const REPORT: u16 = 10;
        /// What peers tell, and what the consensus component has to know of them: HeardEvents until the call ends. One at a time.
        pub const HEAR: u16 = 11;
        /// TellRequest: tells peers. Never waits for them; what does not fit is dropped.
        pub const TELL: u16 = 12;
        /// OrderedMembers: who belongs by what is decided, who no longer does, and the mesh.
        pub const ORDER: u16 = 13;
    }

    /// Methods of the state service.
    pub mod state {
        /// StateStatus: what the store holds and may hold.
        pub const STATUS: u16 = 1;
        /// PutRequest; Progress events, then a PutReply with the root.
        pub const PUT: u16 = 2;
        /// ListRequest; one Entry per event, then a ListReply.
        pub const LIST: u16 = 3;
        /// CatRequest; events of bytes, then a CatReply.
        pub const CAT: u16 = 4;
        /// StatRequest; one Entry.
        pub const STAT: u16 = 5;
        /// PinRequest: keeps a root through gc.
        pub const PIN: u16 = 6;
        /// PinRequest: lets gc take a root.
        pub const UNPIN: u16 = 7;
        /// RootList: the roots that this store knows.
        pub const ROOTS: u16 = 8;
        /// GcRequest; Progress events, then a GcReply.
        pub const GC: u16 = 9;
        /// FsckRequest; one FsckFinding per event, then a FsckReply.
        pub const FSCK: u16 = 10;
        /// BlockIds; BlocksHere, in their order.
        pub const HAS: u16 = 11;
        /// ReadRequest: blocks as they travel; ReadReply.
        pub const READ: u16 = 12;
        /// ReceiveRequest: opens a session for a fetch; ReceiveEvents, then a ReceiveReply once it is over.
        pub const RECEIVE: u16 = 13;
        /// WantedRequest; WantedReply: blocks of a session to get next.
        pub const WANTED: u16 = 14;
        /// AcceptRequest: blocks of a session as they arrived; AcceptReply.
        pub const ACCEPT: u16 = 15;
        /// ReceivedRequest: no more comes for a session.
        pub const RECEIVED: u16 = 16;
        /// ProcessReport of the process that serves this socket.
        pub const REPORT: u16 = 17;
    }

    /// Methods of the scheduler service.
    pub mod scheduler {
        /// SchedulerStatus: running and recent jobs, the adviser.
        pub const STATUS: u16 = 1;
        /// GetRequest; Progress events, then a GetReply.
        pub const GET: u16 = 2;
        /// FetchPartRequest: gets one block, or what a path needs; FetchPartReply.
        pub const FETCH: u16 = 3;
        /// ProcessReport of the process that serves this socket.
        pub const REPORT: u16 = 4;
    }

    /// Methods of the consensus service.
    pub mod consensus {
        /// ConsensusStatus: the mesh, its height, its voters, what waits.
        pub const STATUS: u16 = 1;
        /// ProcessReport of the process that serves this socket.
        pub const REPORT: u16 = 2;
        /// SubmitRequest: signs an action by this node and has it ordered; SubmitReply once it is decided.
        pub const SUBMIT: u16 = 3;
        /// NameRequest; NameEntry of the last decided height.
        pub const NAME: u16 = 4;
        /// NamesRequest; NameList: names below a prefix, in order, and where to go on.
        pub const NAMES: u16 = 5;
        /// MemberList: who belongs to the mesh, delegations, motions under way.
        pub const MEMBERS: u16 = 6;
        /// LogRequest; one DecidedBlock per event, then nothing.
        pub const LOG: u16 = 7;
        /// SubscribeRequest; a DecidedBlock per event, from a height on, until the call ends.
        pub const SUBSCRIBE: u16 = 8;
        /// HistoryRequest; NameHistory: the changes of a name, the last first.
        pub const HISTORY: u16 = 9;
        /// EvidenceList: proofs against voters that this node has seen, and what was decided on them.
        pub const EVIDENCE: u16 = 10;
        /// NameRequest; a NameProof in bytes, which verifies without this node.
        pub const PROOF: u16 = 11;
        /// JoinRequest: redeems an invitation and takes part in its issuer's mesh from then on; JoinReply.
        pub const JOIN: u16 = 12;
    }

    /// Methods of the metrics service.
    pub mod metrics {
        /// NodeStatus: components, sockets, layers.
        pub const STATUS: u16 = 1;
        /// Prometheus text.
        pub const SCRAPE: u16 = 2;
    }

    /// Methods of the ifr service.
    pub mod ifr {
        /// IfrStats: entries, memory, requests, journal.
        pub const STATS: u16 = 1;
        /// IfrKey; the value, or no body when the key is not here.
        pub const GET: u16 = 2;
        /// IfrPut; the value that it replaced, or no body.
        pub const PUT: u16 = 3;
        /// IfrKey; the value that was removed, or no body.
        pub const REMOVE: u16 = 4;
        /// IfrKeys; IfrValues.
        pub const GET_MANY: u16 = 5;
        /// IfrEntries; IfrDone.
        pub const PUT_MANY: u16 = 6;
        /// IfrKeys; IfrFound: which were here.
        pub const REMOVE_MANY: u16 = 7;
        /// IfrKeys; IfrFound by the filter alone: 0 is sure, 1 is a maybe.
        pub const MAY_CONTAIN: u16 = 8;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const SNAPSHOT: u16 = 9;
        /// IfrPool: makes a pool, of records or of values, with a budget.
        pub const POOL_ADD: u16 = 10;
        /// IfrPool: forgets a pool with all that it holds; budget and flags are 0.
        pub const POOL_DROP: u16 = 11;
        /// IfrPool; IfrPoolStats. Budget and flags are 0.
        pub const POOL_STATS: u16 = 12;
        /// IfrFlowPut; the record that it replaced, or no body.
        pub const FLOW_PUT: u16 = 13;
        /// IfrKey of a digest; its record, or no body when none lives.
        pub const FLOW_GET: u16 = 14;
        /// IfrKey of a digest; the record that was removed, or no body.
        pub const FLOW_REMOVE: u16 = 15;
        /// IfrExpire: takes out what has expired; IfrDone.
        pub const FLOW_EXPIRE: u16 = 16;
        /// IfrRoute; IfrDecision: the record, or where to ask next.
        pub const FLOW_ROUTE: u16 = 17;
        /// IfrLearn: whether a layer that was asked had an answer.
        pub const FLOW_LEARN: u16 = 18;
        /// IfrPools: every pool, its budget and what it holds.
        pub const POOLS: u16 = 19;
    }

    /// Methods of the dsr service.
    pub mod dsr {
        /// DsrStats.
        pub const STATS: u16 = 1;
        /// DsrInsertRequest: keeps a vector under a key; DsrInsertReply.
        pub const INSERT: u16 = 2;
        /// DsrRemoveRequest: forgets an entry or a pool.
        pub const REMOVE: u16 = 3;
        /// DsrSimilarRequest; DsrMatches, most similar first.
        pub const SIMILAR: u16 = 4;
        /// DsrExplainRequest; DsrExplanation: why an entry is found for a vector, or is not.
        pub const EXPLAIN: u16 = 5;
        /// DsrNoveltyRequest; DsrNovelty: how unlike everything in the pool.
        pub const NOVELTY: u16 = 6;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const SNAPSHOT: u16 = 7;
    }

    /// Methods of the alm service.
    pub mod alm {
        /// AlmStats.
        pub const STATS: u16 = 1;
        /// AlmEdges: sets the strength of edges.
        pub const ADD: u16 = 2;
        /// AlmEdges: adds to the strength of edges.
        pub const REINFORCE: u16 = 3;
        /// AlmEdges: forgets edges; an empty target forgets the node.
        pub const REMOVE: u16 = 4;
        /// AlmNeighboursRequest; AlmEdges, strongest first.
        pub const NEIGHBOURS: u16 = 5;
        /// AlmPathRequest; AlmPath.
        pub const BEST_PATH: u16 = 6;
        /// AlmRankRequest; AlmRanking, best first.
        pub const RANK: u16 = 7;
        /// Writes a snapshot to disk now.
        pub const SNAPSHOT: u16 = 8;
        /// AlmPathRequest; AlmPaths: the k best loopless ones, best first.
        pub const BEST_PATHS: u16 = 9;
        /// AlmAssociatesRequest; AlmAssociates, best first.
        pub const ASSOCIATES: u16 = 10;
        /// AlmGroup: keys that were used together; the predictor learns.
        pub const OBSERVE: u16 = 11;
        /// AlmPredictRequest; AlmPredictions: what is used with a key, best first.
        pub const PREDICT: u16 = 12;
        /// AlmPool: makes a pool, or changes its budgets.
        pub const POOL_SET: u16 = 13;
        /// AlmPool: forgets a pool with all that is in it.
        pub const POOL_DROP: u16 = 14;
        /// AlmPools.
        pub const POOLS: u16 = 15;
        /// AlmPool: chooses landmarks that shorten searches until a link grows.
        pub const PREPARE: u16 = 16;
    }

    /// Methods of the cpe service.
    pub mod cpe {
        /// CpeStatsRequest; CpeStats: the pools, and the scores of a stream if one is named.
        pub const STATS: u16 = 1;
        /// CpeObserveRequest: keys came in a stream, in this order; CpeObserved: how each had been predicted.
        pub const OBSERVE: u16 = 2;
        /// CpePredictRequest; CpePrediction: what comes next, how sure that is, and when.
        pub const PREDICT: u16 = 3;
        /// CpeSampleRequest: a number came in a series; CpeSampled.
        pub const SAMPLE: u16 = 4;
        /// CpeForecastRequest; CpeForecast: quantiles of the numbers to come.
        pub const FORECAST: u16 = 5;
        /// CpeForgetRequest: forgets a stream, a series or a pool.
        pub const FORGET: u16 = 6;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const SNAPSHOT: u16 = 7;
        /// CpeExplainRequest; CpeExplanation: who gives a key its probability now, and on what grounds.
        pub const EXPLAIN: u16 = 8;
    }

    /// Name of a method, for people.
    pub fn name(service: super::Service, method: u16) -> Option<&'static str> {
        Some(match (service, method) {
            (super::Service::Transport, 1) => "status",
            (super::Service::Transport, 2) => "peers",
            (super::Service::Transport, 3) => "ping",
            (super::Service::Transport, 4) => "invite",
            (super::Service::Transport, 5) => "join",
            (super::Service::Transport, 6) => "forget",
            (super::Service::Transport, 7) => "connected",
            (super::Service::Transport, 8) => "holders",
            (super::Service::Transport, 9) => "fetch",
            (super::Service::Transport, 10) => "report",
            (super::Service::Transport, 11) => "hear",
            (super::Service::Transport, 12) => "tell",
            (super::Service::Transport, 13) => "order",
            (super::Service::State, 1) => "status",
            (super::Service::State, 2) => "put",
            (super::Service::State, 3) => "list",
            (super::Service::State, 4) => "cat",
            (super::Service::State, 5) => "stat",
            (super::Service::State, 6) => "pin",
            (super::Service::State, 7) => "unpin",
            (super::Service::State, 8) => "roots",
            (super::Service::State, 9) => "gc",
            (super::Service::State, 10) => "fsck",
            (super::Service::State, 11) => "has",
            (super::Service::State, 12) => "read",
            (super::Service::State, 13) => "receive",
            (super::Service::State, 14) => "wanted",
            (super::Service::State, 15) => "accept",
            (super::Service::State, 16) => "received",
            (super::Service::State, 17) => "report",
            (super::Service::Scheduler, 1) => "status",
            (super::Service::Scheduler, 2) => "get",
            (super::Service::Scheduler, 3) => "fetch",
            (super::Service::Scheduler, 4) => "report",
            (super::Service::Consensus, 1) => "status",
            (super::Service::Consensus, 2) => "report",
            (super::Service::Consensus, 3) => "submit",
            (super::Service::Consensus, 4) => "name",
            (super::Service::Consensus, 5) => "names",
            (super::Service::Consensus, 6) => "members",
            (super::Service::Consensus, 7) => "log",
            (super::Service::Consensus, 8) => "subscribe",
            (super::Service::Consensus, 9) => "history",
            (super::Service::Consensus, 10) => "evidence",
            (super::Service::Consensus, 11) => "proof",
            (super::Service::Consensus, 12) => "join",
            (super::Service::Metrics, 1) => "status",
            (super::Service::Metrics, 2) => "scrape",
            (super::Service::Ifr, 1) => "stats",
            (super::Service::Ifr, 2) => "get",
            (super::Service::Ifr, 3) => "put",
            (super::Service::Ifr, 4) => "remove",
            (super::Service::Ifr, 5) => "get_many",
            (super::Service::Ifr, 6) => "put_many",
            (super::Service::Ifr, 7) => "remove_many",
            (super::Service::Ifr, 8) => "may_contain",
            (super::Service::Ifr, 9) => "snapshot",
            (super::Service::Ifr, 10) => "pool_add",
            (super::Service::Ifr, 11) => "pool_drop",
            (super::Service::Ifr, 12) => "pool_stats",
            (super::Service::Ifr, 13) => "flow_put",
            (super::Service::Ifr, 14) => "flow_get",
            (super::Service::Ifr, 15) => "flow_remove",
            (super::Service::Ifr, 16) => "flow_expire",
            (super::Service::Ifr, 17) => "flow_route",
            (super::Service::Ifr, 18) => "flow_learn",
            (super::Service::Ifr, 19) => "pools",
            (super::Service::Dsr, 1) => "stats",
            (super::Service::Dsr, 2) => "insert",
            (super::Service::Dsr, 3) => "remove",
            (super::Service::Dsr, 4) => "similar",
            (super::Service::Dsr, 5) => "explain",
            (super::Service::Dsr, 6) => "novelty",
            (super::Service::Dsr, 7) => "snapshot",
            (super::Service::Alm, 1) => "stats",
            (super::Service::Alm, 2) => "add",
            (super::Service::Alm, 3) => "reinforce",
            (super::Service::Alm, 4) => "remove",
            (super::Service::Alm, 5) => "neighbours",
            (super::Service::Alm, 6) => "best_path",
            (super::Service::Alm, 7) => "rank",
            (super::Service::Alm, 8) => "snapshot",
            (super::Service::Alm, 9) => "best_paths",
            (super::Service::Alm, 10) => "associates",
            (super::Service::Alm, 11) => "observe",
            (super::Service::Alm, 12) => "predict",
            (super::Service::Alm, 13) => "pool_set",
            (super::Service::Alm, 14) => "pool_drop",
            (super::Service::Alm, 15) => "pools",
            (super::Service::Alm, 16) => "prepare",
            (super::Service::Cpe, 1) => "stats",
            (super::Service::Cpe, 2) => "observe",
            (super::Service::Cpe, 3) => "predict",
            (super::Service::Cpe, 4) => "sample",
            (super::Service::Cpe, 5) => "forecast",
            (super::Service::Cpe, 6) => "forget",
            (super::Service::Cpe, 7) => "snapshot",
            (super::Service::Cpe, 8) => "explain",
            _ => return None,
        })
    }

    /// What a method takes and gives, as names of messages of `local.proto`. `bytes` and `text` are those content types.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Description {
        pub service: super::Service,
        pub method: u16,
        pub name: &'static str,
        /// One sentence.
        pub text: &'static str,
        /// Empty: no body.
        pub request: &'static str,
        /// Of each event; empty: it does not stream.
        pub event: &'static str,
        /// Empty: no body.
        pub reply: &'static str,
    }

    /// All methods, by service and number.
    pub const ALL: &[Description] = &[
        Description {
            service: super::Service::Transport,
            method: 1,
            name: "status",
            text: "TransportStatus of this node.",
            request: "",
            event: "",
            reply: "TransportStatus",
        },
        Description {
            service: super::Service::Transport,
            method: 2,
            name: "peers",
            text: "PeerList: every known peer, connected or not.",
            request: "",
            event: "",
            reply: "PeerList",
        },
        Description {
            service: super::Service::Transport,
            method: 3,
            name: "ping",
            text: "PingRequest; one PingEvent per probe, then a PingReply.",
            request: "PingRequest",
            event: "PingEvent",
            reply: "PingReply",
        },
        Description {
            service: super::Service::Transport,
            method: 4,
            name: "invite",
            text: "InviteRequest; an Invitation in text form.",
            request: "InviteRequest",
            event: "",
            reply: "Invitation",
        },
        Description {
            service: super::Service::Transport,
            method: 5,
            name: "join",
            text: "JoinRequest; a JoinReply once the issuer accepted.",
            request: "JoinRequest",
            event: "",
            reply: "JoinReply",
        },
        Description {
            service: super::Service::Transport,
            method: 6,
            name: "forget",
            text: "ForgetRequest: the peer is no member any more.",
            request: "ForgetRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Transport,
            method: 7,
            name: "connected",
            text: "ConnectedRequest; ConnectedReply: peers that are connected, after a wait for a first one.",
            request: "ConnectedRequest",
            event: "",
            reply: "ConnectedReply",
        },
        Description {
            service: super::Service::Transport,
            method: 8,
            name: "holders",
            text: "HoldersRequest; HoldersReply: those that say they have a block.",
            request: "HoldersRequest",
            event: "",
            reply: "HoldersReply",
        },
        Description {
            service: super::Service::Transport,
            method: 9,
            name: "fetch",
            text: "FetchRequest: moves what a session of state wants; Fetched so far as events, and in the end.",
            request: "FetchRequest",
            event: "Fetched",
            reply: "Fetched",
        },
        Description {
            service: super::Service::Transport,
            method: 10,
            name: "report",
            text: "ProcessReport of the process that serves this socket.",
            request: "",
            event: "",
            reply: "ProcessReport",
        },
        Description {
            service: super::Service::Transport,
            method: 11,
            name: "hear",
            text: "What peers tell, and what the consensus component has to know of them: HeardEvents until the call ends. One at a time.",
            request: "",
            event: "HeardEvent",
            reply: "",
        },
        Description {
            service: super::Service::Transport,
            method: 12,
            name: "tell",
            text: "TellRequest: tells peers. Never waits for them; what does not fit is dropped.",
            request: "TellRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Transport,
            method: 13,
            name: "order",
            text: "OrderedMembers: who belongs by what is decided, who no longer does, and the mesh.",
            request: "OrderedMembers",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::State,
            method: 1,
            name: "status",
            text: "StateStatus: what the store holds and may hold.",
            request: "",
            event: "",
            reply: "StateStatus",
        },
        Description {
            service: super::Service::State,
            method: 2,
            name: "put",
            text: "PutRequest; Progress events, then a PutReply with the root.",
            request: "PutRequest",
            event: "Progress",
            reply: "PutReply",
        },
        Description {
            service: super::Service::State,
            method: 3,
            name: "list",
            text: "ListRequest; one Entry per event, then a ListReply.",
            request: "ListRequest",
            event: "Entry",
            reply: "ListReply",
        },
        Description {
            service: super::Service::State,
            method: 4,
            name: "cat",
            text: "CatRequest; events of bytes, then a CatReply.",
            request: "CatRequest",
            event: "bytes",
            reply: "CatReply",
        },
        Description {
            service: super::Service::State,
            method: 5,
            name: "stat",
            text: "StatRequest; one Entry.",
            request: "StatRequest",
            event: "",
            reply: "Entry",
        },
        Description {
            service: super::Service::State,
            method: 6,
            name: "pin",
            text: "PinRequest: keeps a root through gc.",
            request: "PinRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::State,
            method: 7,
            name: "unpin",
            text: "PinRequest: lets gc take a root.",
            request: "PinRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::State,
            method: 8,
            name: "roots",
            text: "RootList: the roots that this store knows.",
            request: "",
            event: "",
            reply: "RootList",
        },
        Description {
            service: super::Service::State,
            method: 9,
            name: "gc",
            text: "GcRequest; Progress events, then a GcReply.",
            request: "GcRequest",
            event: "Progress",
            reply: "GcReply",
        },
        Description {
            service: super::Service::State,
            method: 10,
            name: "fsck",
            text: "FsckRequest; one FsckFinding per event, then a FsckReply.",
            request: "FsckRequest",
            event: "FsckFinding",
            reply: "FsckReply",
        },
        Description {
            service: super::Service::State,
            method: 11,
            name: "has",
            text: "BlockIds; BlocksHere, in their order.",
            request: "BlockIds",
            event: "",
            reply: "BlocksHere",
        },
        Description {
            service: super::Service::State,
            method: 12,
            name: "read",
            text: "ReadRequest: blocks as they travel; ReadReply.",
            request: "ReadRequest",
            event: "",
            reply: "ReadReply",
        },
        Description {
            service: super::Service::State,
            method: 13,
            name: "receive",
            text: "ReceiveRequest: opens a session for a fetch; ReceiveEvents, then a ReceiveReply once it is over.",
            request: "ReceiveRequest",
            event: "ReceiveEvent",
            reply: "ReceiveReply",
        },
        Description {
            service: super::Service::State,
            method: 14,
            name: "wanted",
            text: "WantedRequest; WantedReply: blocks of a session to get next.",
            request: "WantedRequest",
            event: "",
            reply: "WantedReply",
        },
        Description {
            service: super::Service::State,
            method: 15,
            name: "accept",
            text: "AcceptRequest: blocks of a session as they arrived; AcceptReply.",
            request: "AcceptRequest",
            event: "",
            reply: "AcceptReply",
        },
        Description {
            service: super::Service::State,
            method: 16,
            name: "received",
            text: "ReceivedRequest: no more comes for a session.",
            request: "ReceivedRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::State,
            method: 17,
            name: "report",
            text: "ProcessReport of the process that serves this socket.",
            request: "",
            event: "",
            reply: "ProcessReport",
        },
        Description {
            service: super::Service::Scheduler,
            method: 1,
            name: "status",
            text: "SchedulerStatus: running and recent jobs, the adviser.",
            request: "",
            event: "",
            reply: "SchedulerStatus",
        },
        Description {
            service: super::Service::Scheduler,
            method: 2,
            name: "get",
            text: "GetRequest; Progress events, then a GetReply.",
            request: "GetRequest",
            event: "Progress",
            reply: "GetReply",
        },
        Description {
            service: super::Service::Scheduler,
            method: 3,
            name: "fetch",
            text: "FetchPartRequest: gets one block, or what a path needs; FetchPartReply.",
            request: "FetchPartRequest",
            event: "",
            reply: "FetchPartReply",
        },
        Description {
            service: super::Service::Scheduler,
            method: 4,
            name: "report",
            text: "ProcessReport of the process that serves this socket.",
            request: "",
            event: "",
            reply: "ProcessReport",
        },
        Description {
            service: super::Service::Consensus,
            method: 1,
            name: "status",
            text: "ConsensusStatus: the mesh, its height, its voters, what waits.",
            request: "",
            event: "",
            reply: "ConsensusStatus",
        },
        Description {
            service: super::Service::Consensus,
            method: 2,
            name: "report",
            text: "ProcessReport of the process that serves this socket.",
            request: "",
            event: "",
            reply: "ProcessReport",
        },
        Description {
            service: super::Service::Consensus,
            method: 3,
            name: "submit",
            text: "SubmitRequest: signs an action by this node and has it ordered; SubmitReply once it is decided.",
            request: "SubmitRequest",
            event: "",
            reply: "SubmitReply",
        },
        Description {
            service: super::Service::Consensus,
            method: 4,
            name: "name",
            text: "NameRequest; NameEntry of the last decided height.",
            request: "NameRequest",
            event: "",
            reply: "NameEntry",
        },
        Description {
            service: super::Service::Consensus,
            method: 5,
            name: "names",
            text: "NamesRequest; NameList: names below a prefix, in order, and where to go on.",
            request: "NamesRequest",
            event: "",
            reply: "NameList",
        },
        Description {
            service: super::Service::Consensus,
            method: 6,
            name: "members",
            text: "MemberList: who belongs to the mesh, delegations, motions under way.",
            request: "",
            event: "",
            reply: "MemberList",
        },
        Description {
            service: super::Service::Consensus,
            method: 7,
            name: "log",
            text: "LogRequest; one DecidedBlock per event, then nothing.",
            request: "LogRequest",
            event: "DecidedBlock",
            reply: "",
        },
        Description {
            service: super::Service::Consensus,
            method: 8,
            name: "subscribe",
            text: "SubscribeRequest; a DecidedBlock per event, from a height on, until the call ends.",
            request: "SubscribeRequest",
            event: "DecidedBlock",
            reply: "",
        },
        Description {
            service: super::Service::Consensus,
            method: 9,
            name: "history",
            text: "HistoryRequest; NameHistory: the changes of a name, the last first.",
            request: "HistoryRequest",
            event: "",
            reply: "NameHistory",
        },
        Description {
            service: super::Service::Consensus,
            method: 10,
            name: "evidence",
            text: "EvidenceList: proofs against voters that this node has seen, and what was decided on them.",
            request: "",
            event: "",
            reply: "EvidenceList",
        },
        Description {
            service: super::Service::Consensus,
            method: 11,
            name: "proof",
            text: "NameRequest; a NameProof in bytes, which verifies without this node.",
            request: "NameRequest",
            event: "",
            reply: "NameProof",
        },
        Description {
            service: super::Service::Consensus,
            method: 12,
            name: "join",
            text: "JoinRequest: redeems an invitation and takes part in its issuer's mesh from then on; JoinReply.",
            request: "JoinRequest",
            event: "",
            reply: "JoinReply",
        },
        Description {
            service: super::Service::Metrics,
            method: 1,
            name: "status",
            text: "NodeStatus: components, sockets, layers.",
            request: "",
            event: "",
            reply: "NodeStatus",
        },
        Description {
            service: super::Service::Metrics,
            method: 2,
            name: "scrape",
            text: "Prometheus text.",
            request: "",
            event: "",
            reply: "text",
        },
        Description {
            service: super::Service::Ifr,
            method: 1,
            name: "stats",
            text: "IfrStats: entries, memory, requests, journal.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 2,
            name: "get",
            text: "IfrKey; the value, or no body when the key is not here.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 3,
            name: "put",
            text: "IfrPut; the value that it replaced, or no body.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 4,
            name: "remove",
            text: "IfrKey; the value that was removed, or no body.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 5,
            name: "get_many",
            text: "IfrKeys; IfrValues.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 6,
            name: "put_many",
            text: "IfrEntries; IfrDone.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 7,
            name: "remove_many",
            text: "IfrKeys; IfrFound: which were here.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 8,
            name: "may_contain",
            text: "IfrKeys; IfrFound by the filter alone: 0 is sure, 1 is a maybe.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 9,
            name: "snapshot",
            text: "Writes a snapshot now and begins a new log; answers when it is on disk.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 10,
            name: "pool_add",
            text: "IfrPool: makes a pool, of records or of values, with a budget.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 11,
            name: "pool_drop",
            text: "IfrPool: forgets a pool with all that it holds; budget and flags are 0.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 12,
            name: "pool_stats",
            text: "IfrPool; IfrPoolStats. Budget and flags are 0.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 13,
            name: "flow_put",
            text: "IfrFlowPut; the record that it replaced, or no body.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 14,
            name: "flow_get",
            text: "IfrKey of a digest; its record, or no body when none lives.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 15,
            name: "flow_remove",
            text: "IfrKey of a digest; the record that was removed, or no body.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 16,
            name: "flow_expire",
            text: "IfrExpire: takes out what has expired; IfrDone.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 17,
            name: "flow_route",
            text: "IfrRoute; IfrDecision: the record, or where to ask next.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 18,
            name: "flow_learn",
            text: "IfrLearn: whether a layer that was asked had an answer.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Ifr,
            method: 19,
            name: "pools",
            text: "IfrPools: every pool, its budget and what it holds.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Dsr,
            method: 1,
            name: "stats",
            text: "DsrStats.",
            request: "",
            event: "",
            reply: "DsrStats",
        },
        Description {
            service: super::Service::Dsr,
            method: 2,
            name: "insert",
            text: "DsrInsertRequest: keeps a vector under a key; DsrInsertReply.",
            request: "DsrInsertRequest",
            event: "",
            reply: "DsrInsertReply",
        },
        Description {
            service: super::Service::Dsr,
            method: 3,
            name: "remove",
            text: "DsrRemoveRequest: forgets an entry or a pool.",
            request: "DsrRemoveRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Dsr,
            method: 4,
            name: "similar",
            text: "DsrSimilarRequest; DsrMatches, most similar first.",
            request: "DsrSimilarRequest",
            event: "",
            reply: "DsrMatches",
        },
        Description {
            service: super::Service::Dsr,
            method: 5,
            name: "explain",
            text: "DsrExplainRequest; DsrExplanation: why an entry is found for a vector, or is not.",
            request: "DsrExplainRequest",
            event: "",
            reply: "DsrExplanation",
        },
        Description {
            service: super::Service::Dsr,
            method: 6,
            name: "novelty",
            text: "DsrNoveltyRequest; DsrNovelty: how unlike everything in the pool.",
            request: "DsrNoveltyRequest",
            event: "",
            reply: "DsrNovelty",
        },
        Description {
            service: super::Service::Dsr,
            method: 7,
            name: "snapshot",
            text: "Writes a snapshot now and begins a new log; answers when it is on disk.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 1,
            name: "stats",
            text: "AlmStats.",
            request: "",
            event: "",
            reply: "AlmStats",
        },
        Description {
            service: super::Service::Alm,
            method: 2,
            name: "add",
            text: "AlmEdges: sets the strength of edges.",
            request: "AlmEdges",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 3,
            name: "reinforce",
            text: "AlmEdges: adds to the strength of edges.",
            request: "AlmEdges",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 4,
            name: "remove",
            text: "AlmEdges: forgets edges; an empty target forgets the node.",
            request: "AlmEdges",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 5,
            name: "neighbours",
            text: "AlmNeighboursRequest; AlmEdges, strongest first.",
            request: "AlmNeighboursRequest",
            event: "",
            reply: "AlmEdges",
        },
        Description {
            service: super::Service::Alm,
            method: 6,
            name: "best_path",
            text: "AlmPathRequest; AlmPath.",
            request: "AlmPathRequest",
            event: "",
            reply: "AlmPath",
        },
        Description {
            service: super::Service::Alm,
            method: 7,
            name: "rank",
            text: "AlmRankRequest; AlmRanking, best first.",
            request: "AlmRankRequest",
            event: "",
            reply: "AlmRanking",
        },
        Description {
            service: super::Service::Alm,
            method: 8,
            name: "snapshot",
            text: "Writes a snapshot to disk now.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 9,
            name: "best_paths",
            text: "AlmPathRequest; AlmPaths: the k best loopless ones, best first.",
            request: "AlmPathRequest",
            event: "",
            reply: "AlmPaths",
        },
        Description {
            service: super::Service::Alm,
            method: 10,
            name: "associates",
            text: "AlmAssociatesRequest; AlmAssociates, best first.",
            request: "AlmAssociatesRequest",
            event: "",
            reply: "AlmAssociates",
        },
        Description {
            service: super::Service::Alm,
            method: 11,
            name: "observe",
            text: "AlmGroup: keys that were used together; the predictor learns.",
            request: "AlmGroup",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 12,
            name: "predict",
            text: "AlmPredictRequest; AlmPredictions: what is used with a key, best first.",
            request: "AlmPredictRequest",
            event: "",
            reply: "AlmPredictions",
        },
        Description {
            service: super::Service::Alm,
            method: 13,
            name: "pool_set",
            text: "AlmPool: makes a pool, or changes its budgets.",
            request: "AlmPool",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 14,
            name: "pool_drop",
            text: "AlmPool: forgets a pool with all that is in it.",
            request: "AlmPool",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Alm,
            method: 15,
            name: "pools",
            text: "AlmPools.",
            request: "",
            event: "",
            reply: "AlmPools",
        },
        Description {
            service: super::Service::Alm,
            method: 16,
            name: "prepare",
            text: "AlmPool: chooses landmarks that shorten searches until a link grows.",
            request: "AlmPool",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Cpe,
            method: 1,
            name: "stats",
            text: "CpeStatsRequest; CpeStats: the pools, and the scores of a stream if one is named.",
            request: "CpeStatsRequest",
            event: "",
            reply: "CpeStats",
        },
        Description {
            service: super::Service::Cpe,
            method: 2,
            name: "observe",
            text: "CpeObserveRequest: keys came in a stream, in this order; CpeObserved: how each had been predicted.",
            request: "CpeObserveRequest",
            event: "",
            reply: "CpeObserved",
        },
        Description {
            service: super::Service::Cpe,
            method: 3,
            name: "predict",
            text: "CpePredictRequest; CpePrediction: what comes next, how sure that is, and when.",
            request: "CpePredictRequest",
            event: "",
            reply: "CpePrediction",
        },
        Description {
            service: super::Service::Cpe,
            method: 4,
            name: "sample",
            text: "CpeSampleRequest: a number came in a series; CpeSampled.",
            request: "CpeSampleRequest",
            event: "",
            reply: "CpeSampled",
        },
        Description {
            service: super::Service::Cpe,
            method: 5,
            name: "forecast",
            text: "CpeForecastRequest; CpeForecast: quantiles of the numbers to come.",
            request: "CpeForecastRequest",
            event: "",
            reply: "CpeForecast",
        },
        Description {
            service: super::Service::Cpe,
            method: 6,
            name: "forget",
            text: "CpeForgetRequest: forgets a stream, a series or a pool.",
            request: "CpeForgetRequest",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Cpe,
            method: 7,
            name: "snapshot",
            text: "Writes a snapshot now and begins a new log; answers when it is on disk.",
            request: "",
            event: "",
            reply: "",
        },
        Description {
            service: super::Service::Cpe,
            method: 8,
            name: "explain",
            text: "CpeExplainRequest; CpeExplanation: who gives a key its probability now, and on what grounds.",
            request: "CpeExplainRequest",
            event: "",
            reply: "CpeExplanation",
        },
    ];
}

/// How a call ended: 0 is success, errors are negative. A number that this version does not know is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub i32);

impl Status {
    /// Success.
    pub const OK: Self = Self(0);
    /// An argument is outside what the function accepts.
    pub const INVALID_ARGUMENT: Self = Self(-1);
    /// What was asked for is not here.
    pub const NOT_FOUND: Self = Self(-2);
    /// Something of that name is already here.
    pub const ALREADY_EXISTS: Self = Self(-3);
    /// The buffer is too small; the needed size was written.
    pub const NO_SPACE: Self = Self(-4);
    /// A configured limit would be exceeded.
    pub const LIMIT: Self = Self(-5);
    /// Memory could not be allocated.
    pub const OUT_OF_MEMORY: Self = Self(-6);
    /// This service does not know the method.
    pub const UNSUPPORTED: Self = Self(-7);
    /// The caller cancelled the request.
    pub const CANCELLED: Self = Self(-8);
    /// The deadline passed before the answer.
    pub const DEADLINE: Self = Self(-9);
    /// A bounded queue is full; try again later.
    pub const BUSY: Self = Self(-10);
    /// The connection or the handle is closed.
    pub const CLOSED: Self = Self(-11);
    /// The caller may not do this.
    pub const DENIED: Self = Self(-12);
    /// The component has nothing to serve yet.
    pub const NOT_READY: Self = Self(-13);
    /// The operating system reported an error.
    pub const IO: Self = Self(-14);
    /// Stored data does not match its checksum.
    pub const CORRUPT: Self = Self(-15);
    /// No peer that could answer was reached.
    pub const UNREACHABLE: Self = Self(-16);
    /// The store's quota or the disk is full.
    pub const QUOTA: Self = Self(-17);
    /// The destination is in the way or names collide there.
    pub const CONFLICT: Self = Self(-18);
    /// Calls like this one failed too often; none is made until a pause is over.
    pub const CIRCUIT_OPEN: Self = Self(-30);
    /// A broken invariant was caught at the border; the handle must be freed.
    pub const PANIC: Self = Self(-98);
    /// An error that should not happen; please report it.
    pub const INTERNAL: Self = Self(-99);
    /// The frame ends before its header does.
    pub const FRAME_SHORT: Self = Self(-100);
    /// The frame is longer than the limit.
    pub const FRAME_TOO_LARGE: Self = Self(-101);
    /// The length prefix and the bytes present disagree.
    pub const FRAME_LENGTH: Self = Self(-102);
    /// The header's version is not ours.
    pub const BAD_VERSION: Self = Self(-103);
    /// The frame's kind is unknown.
    pub const BAD_KIND: Self = Self(-104);
    /// The service is unknown.
    pub const BAD_SERVICE: Self = Self(-105);
    /// The content type is unknown, or `none` has a body.
    pub const BAD_CONTENT_TYPE: Self = Self(-106);
    /// A flag is set that this version does not define.
    pub const BAD_FLAGS: Self = Self(-107);
    /// The status does not fit the kind: errors are negative, all else is 0.
    pub const BAD_STATUS: Self = Self(-108);
    /// The request id does not fit the kind.
    pub const BAD_REQUEST_ID: Self = Self(-109);
    /// The credit is above the limit, or stands where none may.
    pub const BAD_CREDIT: Self = Self(-110);
    /// The TLV area or an entry in it runs past its end, or a known entry has a wrong length.
    pub const BAD_TLV: Self = Self(-111);
    /// A text body or text entry is not UTF-8.
    pub const BAD_UTF8: Self = Self(-112);
    /// The body does not decode as the method's message.
    pub const BAD_BODY: Self = Self(-113);
    /// The frame does not fit the state of the connection.
    pub const UNEXPECTED_FRAME: Self = Self(-114);

    /// All known ones, success first.
    pub const ALL: &'static [Self] = &[
        Self::OK,
        Self::INVALID_ARGUMENT,
        Self::NOT_FOUND,
        Self::ALREADY_EXISTS,
        Self::NO_SPACE,
        Self::LIMIT,
        Self::OUT_OF_MEMORY,
        Self::UNSUPPORTED,
        Self::CANCELLED,
        Self::DEADLINE,
        Self::BUSY,
        Self::CLOSED,
        Self::DENIED,
        Self::NOT_READY,
        Self::IO,
        Self::CORRUPT,
        Self::UNREACHABLE,
        Self::QUOTA,
        Self::CONFLICT,
        Self::CIRCUIT_OPEN,
        Self::PANIC,
        Self::INTERNAL,
        Self::FRAME_SHORT,
        Self::FRAME_TOO_LARGE,
        Self::FRAME_LENGTH,
        Self::BAD_VERSION,
        Self::BAD_KIND,
        Self::BAD_SERVICE,
        Self::BAD_CONTENT_TYPE,
        Self::BAD_FLAGS,
        Self::BAD_STATUS,
        Self::BAD_REQUEST_ID,
        Self::BAD_CREDIT,
        Self::BAD_TLV,
        Self::BAD_UTF8,
        Self::BAD_BODY,
        Self::UNEXPECTED_FRAME,
    ];

    /// Its name, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OK => "OK",
            Self::INVALID_ARGUMENT => "INVALID_ARGUMENT",
            Self::NOT_FOUND => "NOT_FOUND",
            Self::ALREADY_EXISTS => "ALREADY_EXISTS",
            Self::NO_SPACE => "NO_SPACE",
            Self::LIMIT => "LIMIT",
            Self::OUT_OF_MEMORY => "OUT_OF_MEMORY",
            Self::UNSUPPORTED => "UNSUPPORTED",
            Self::CANCELLED => "CANCELLED",
            Self::DEADLINE => "DEADLINE",
            Self::BUSY => "BUSY",
            Self::CLOSED => "CLOSED",
            Self::DENIED => "DENIED",
            Self::NOT_READY => "NOT_READY",
            Self::IO => "IO",
            Self::CORRUPT => "CORRUPT",
            Self::UNREACHABLE => "UNREACHABLE",
            Self::QUOTA => "QUOTA",
            Self::CONFLICT => "CONFLICT",
            Self::CIRCUIT_OPEN => "CIRCUIT_OPEN",
            Self::PANIC => "PANIC",
            Self::INTERNAL => "INTERNAL",
            Self::FRAME_SHORT => "FRAME_SHORT",
            Self::FRAME_TOO_LARGE => "FRAME_TOO_LARGE",
            Self::FRAME_LENGTH => "FRAME_LENGTH",
            Self::BAD_VERSION => "BAD_VERSION",
            Self::BAD_KIND => "BAD_KIND",
            Self::BAD_SERVICE => "BAD_SERVICE",
            Self::BAD_CONTENT_TYPE => "BAD_CONTENT_TYPE",
            Self::BAD_FLAGS => "BAD_FLAGS",
            Self::BAD_STATUS => "BAD_STATUS",
            Self::BAD_REQUEST_ID => "BAD_REQUEST_ID",
            Self::BAD_CREDIT => "BAD_CREDIT",
            Self::BAD_TLV => "BAD_TLV",
            Self::BAD_UTF8 => "BAD_UTF8",
            Self::BAD_BODY => "BAD_BODY",
            Self::UNEXPECTED_FRAME => "UNEXPECTED_FRAME",
            _ => "UNKNOWN",
        }
    }

    /// One sentence for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::OK => "Success.",
            Self::INVALID_ARGUMENT => "An argument is outside what the function accepts.",
            Self::NOT_FOUND => "What was asked for is not here.",
            Self::ALREADY_EXISTS => "Something of that name is already here.",
            Self::NO_SPACE => "The buffer is too small; the needed size was written.",
            Self::LIMIT => "A configured limit would be exceeded.",
            Self::OUT_OF_MEMORY => "Memory could not be allocated.",
            Self::UNSUPPORTED => "This service does not know the method.",
            Self::CANCELLED => "The caller cancelled the request.",
            Self::DEADLINE => "The deadline passed before the answer.",
            Self::BUSY => "A bounded queue is full; try again later.",
            Self::CLOSED => "The connection or the handle is closed.",
            Self::DENIED => "The caller may not do this.",
            Self::NOT_READY => "The component has nothing to serve yet.",
            Self::IO => "The operating system reported an error.",
            Self::CORRUPT => "Stored data does not match its checksum.",
            Self::UNREACHABLE => "No peer that could answer was reached.",
            Self::QUOTA => "The store's quota or the disk is full.",
            Self::CONFLICT => "The destination is in the way or names collide there.",
            Self::CIRCUIT_OPEN => {
                "Calls like this one failed too often; none is made until a pause is over."
            }
            Self::PANIC => "A broken invariant was caught at the border; the handle must be freed.",
            Self::INTERNAL => "An error that should not happen; please report it.",
            Self::FRAME_SHORT => "The frame ends before its header does.",
            Self::FRAME_TOO_LARGE => "The frame is longer than the limit.",
            Self::FRAME_LENGTH => "The length prefix and the bytes present disagree.",
            Self::BAD_VERSION => "The header's version is not ours.",
            Self::BAD_KIND => "The frame's kind is unknown.",
            Self::BAD_SERVICE => "The service is unknown.",
            Self::BAD_CONTENT_TYPE => "The content type is unknown, or `none` has a body.",
            Self::BAD_FLAGS => "A flag is set that this version does not define.",
            Self::BAD_STATUS => {
                "The status does not fit the kind: errors are negative, all else is 0."
            }
            Self::BAD_REQUEST_ID => "The request id does not fit the kind.",
            Self::BAD_CREDIT => "The credit is above the limit, or stands where none may.",
            Self::BAD_TLV => {
                "The TLV area or an entry in it runs past its end, or a known entry has a wrong length."
            }
            Self::BAD_UTF8 => "A text body or text entry is not UTF-8.",
            Self::BAD_BODY => "The body does not decode as the method's message.",
            Self::UNEXPECTED_FRAME => "The frame does not fit the state of the connection.",
            _ => "A status that this version does not know.",
        }
    }

    /// Who is at fault: `none`, `caller`, `peer`, `environment`, `internal`, or `unknown`.
    pub fn class(self) -> &'static str {
        match self {
            Self::OK => "none",
            Self::INVALID_ARGUMENT
            | Self::NOT_FOUND
            | Self::ALREADY_EXISTS
            | Self::NO_SPACE
            | Self::UNSUPPORTED
            | Self::CANCELLED
            | Self::DENIED => "caller",
            Self::FRAME_SHORT
            | Self::FRAME_TOO_LARGE
            | Self::FRAME_LENGTH
            | Self::BAD_VERSION
            | Self::BAD_KIND
            | Self::BAD_SERVICE
            | Self::BAD_CONTENT_TYPE
            | Self::BAD_FLAGS
            | Self::BAD_STATUS
            | Self::BAD_REQUEST_ID
            | Self::BAD_CREDIT
            | Self::BAD_TLV
            | Self::BAD_UTF8
            | Self::BAD_BODY
            | Self::UNEXPECTED_FRAME => "peer",
            Self::LIMIT
            | Self::OUT_OF_MEMORY
            | Self::DEADLINE
            | Self::BUSY
            | Self::CLOSED
            | Self::NOT_READY
            | Self::IO
            | Self::CORRUPT
            | Self::UNREACHABLE
            | Self::QUOTA
            | Self::CONFLICT
            | Self::CIRCUIT_OPEN => "environment",
            Self::PANIC | Self::INTERNAL => "internal",
            _ => "unknown",
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::OUT_OF_MEMORY
                | Self::DEADLINE
                | Self::BUSY
                | Self::CLOSED
                | Self::NOT_READY
                | Self::IO
                | Self::UNREACHABLE
                | Self::CIRCUIT_OPEN
        )
    }
}
