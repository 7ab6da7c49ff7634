//! Constants of the local wire. Generated from ffi/protocol/constants.toml by `./make gen`; do not edit.

/// The major version of the local wire.
pub const version: u8 = 1;

/// Limits and sizes.
pub const limits = struct {
    /// The length prefix.
    pub const length_bytes: u32 = 4;
    /// Fixed header, the 4-byte length not counted.
    pub const header_bytes: u32 = 56;
    /// Connections per socket.
    pub const connections_max: u32 = 4096;
    /// Longest text of an error frame.
    pub const error_text_bytes_max: u32 = 4096;
    /// Keys in one batch request of the ifr service.
    pub const ifr_batch_keys_max: u32 = 4096;
    /// Requests in flight per connection.
    pub const requests_in_flight_max: u32 = 4096;
    /// Most event frames a caller may allow at once.
    pub const credit_max: u32 = 65536;
    /// Longest byte key of the ifr service.
    pub const ifr_key_bytes_max: u32 = 65536;
    /// Longest TLV area, its own 4-byte length not counted.
    pub const tlv_area_bytes_max: u32 = 65536;
    /// Longest frame, the 4-byte length not counted.
    pub const frame_bytes_max: u32 = 16777216;
};

/// What a frame is.
pub const Kind = enum(u8) {
    /// First frame of each side: version, features, service, limits.
    hello = 1,
    /// Asks a method; `request_id` names it, `credit` allows that many events.
    request = 2,
    /// Ends a request that succeeded.
    reply = 3,
    /// Ends a request that failed: `status` and a text body. Id 0: ends the connection.
    @"error" = 4,
    /// One item of a streamed answer; uses one credit.
    event = 5,
    /// The caller no longer wants the answer.
    cancel = 6,
    /// The caller allows `credit` more events.
    credit = 7,
    /// Asks whether the other side is alive.
    ping = 8,
    /// Answers a ping with its id.
    pong = 9,
    /// No new requests are accepted; accepted ones are answered.
    goaway = 10,
};

/// A socket that serves the wire.
pub const Service = enum(u8) {
    /// hypermesh_transport.sock
    transport = 1,
    /// hypermesh_state.sock
    state = 2,
    /// hypermesh_scheduler.sock
    scheduler = 3,
    /// hypermesh_consensus.sock
    consensus = 4,
    /// hypermesh_metrics.sock
    metrics = 5,
    /// mfn_ifr.sock
    ifr = 6,
    /// mfn_dsr.sock
    dsr = 7,
    /// mfn_alm.sock
    alm = 8,
    /// mfn_cpe.sock
    cpe = 9,
};

/// What a body is.
pub const ContentType = enum(u8) {
    /// The body is empty.
    none = 0,
    /// A fixed little-endian layout of the method.
    fixed = 1,
    /// A proto3 message of the method.
    protobuf = 2,
    /// Opaque bytes.
    bytes = 3,
    /// UTF-8 text.
    text = 4,
};

/// Bits of the header's flags.
pub const flag = struct {
    /// A TLV area stands between header and body.
    pub const tlv: u16 = 1;
    /// The trace is sampled.
    pub const sampled: u16 = 2;
};

/// Types of TLV entries.
pub const tlv = struct {
    /// HELLO: u64 bit set of features.
    pub const features: u16 = 1;
    /// HELLO: u32 frame bytes, u32 requests in flight, u32 connections.
    pub const limits: u16 = 2;
    /// HELLO: UTF-8 name and version of the program.
    pub const software: u16 = 3;
};

/// Bits of the features that HELLO announces.
pub const feature = struct {
    /// Reserved: frames by a ring in shared memory. Nobody announces it yet.
    pub const shared_memory: u64 = 1;
};

/// What a key of the ifr service is.
pub const ifr_key = struct {
    /// 32 bytes that are evenly spread, such as a BLAKE3 hash.
    pub const digest: u8 = 1;
    /// Bytes of any form and length up to the limit.
    pub const bytes: u8 = 2;
};

/// Methods, per service.
pub const method = struct {
    /// Methods of the transport service.
    pub const transport = struct {
        /// TransportStatus of this node.
        pub const status: u16 = 1;
        /// PeerList: every known peer, connected or not.
        pub const peers: u16 = 2;
        /// PingRequest; one PingEvent per probe, then a PingReply.
        pub const ping: u16 = 3;
        /// InviteRequest; an Invitation in text form.
        pub const invite: u16 = 4;
        /// JoinRequest; a JoinReply once the issuer accepted.
        pub const join: u16 = 5;
        /// ForgetRequest: the peer is no member any more.
        pub const forget: u16 = 6;
        /// ConnectedRequest; ConnectedReply: peers that are connected, after a wait for a first one.
        pub const connected: u16 = 7;
        /// HoldersRequest; HoldersReply: those that say they have a block.
        pub const holders: u16 = 8;
        /// FetchRequest: moves what a session of state wants; Fetched so far as events, and in the end.
        pub const fetch: u16 = 9;
        /// ProcessReport of the process that serves this socket.
        pub const report: u16 = 10;
        /// What peers tell, and what the consensus component has to know of them: HeardEvents until the call ends. One at a time.
        pub const hear: u16 = 11;
        /// TellRequest: tells peers. Never waits for them; what does not fit is dropped.
        pub const tell: u16 = 12;
        /// OrderedMembers: who belongs by what is decided, who no longer does, and the mesh.
        pub const order: u16 = 13;
    };

    /// Methods of the state service.
    pub const state = struct {
        /// StateStatus: what the store holds and may hold.
        pub const status: u16 = 1;
        /// PutRequest; Progress events, then a PutReply with the root.
        pub const put: u16 = 2;
        /// ListRequest; one Entry per event, then a ListReply.
        pub const list: u16 = 3;
        /// CatRequest; events of bytes, then a CatReply.
        pub const cat: u16 = 4;
        /// StatRequest; one Entry.
        pub const stat: u16 = 5;
        /// PinRequest: keeps a root through gc.
        pub const pin: u16 = 6;
        /// PinRequest: lets gc take a root.
        pub const unpin: u16 = 7;
        /// RootList: the roots that this store knows.
        pub const roots: u16 = 8;
        /// GcRequest; Progress events, then a GcReply.
        pub const gc: u16 = 9;
        /// FsckRequest; one FsckFinding per event, then a FsckReply.
        pub const fsck: u16 = 10;
        /// BlockIds; BlocksHere, in their order.
        pub const has: u16 = 11;
        /// ReadRequest: blocks as they travel; ReadReply.
        pub const read: u16 = 12;
        /// ReceiveRequest: opens a session for a fetch; ReceiveEvents, then a ReceiveReply once it is over.
        pub const receive: u16 = 13;
        /// WantedRequest; WantedReply: blocks of a session to get next.
        pub const wanted: u16 = 14;
        /// AcceptRequest: blocks of a session as they arrived; AcceptReply.
        pub const accept: u16 = 15;
        /// ReceivedRequest: no more comes for a session.
        pub const received: u16 = 16;
        /// ProcessReport of the process that serves this socket.
        pub const report: u16 = 17;
    };

    /// Methods of the scheduler service.
    pub const scheduler = struct {
        /// SchedulerStatus: running and recent jobs, the adviser.
        pub const status: u16 = 1;
        /// GetRequest; Progress events, then a GetReply.
        pub const get: u16 = 2;
        /// FetchPartRequest: gets one block, or what a path needs; FetchPartReply.
        pub const fetch: u16 = 3;
        /// ProcessReport of the process that serves this socket.
        pub const report: u16 = 4;
    };

    /// Methods of the consensus service.
    pub const consensus = struct {
        /// ConsensusStatus: the mesh, its height, its voters, what waits.
        pub const status: u16 = 1;
        /// ProcessReport of the process that serves this socket.
        pub const report: u16 = 2;
        /// SubmitRequest: signs an action by this node and has it ordered; SubmitReply once it is decided.
        pub const submit: u16 = 3;
        /// NameRequest; NameEntry of the last decided height.
        pub const name: u16 = 4;
        /// NamesRequest; NameList: names below a prefix, in order, and where to go on.
        pub const names: u16 = 5;
        /// MemberList: who belongs to the mesh, delegations, motions under way.
        pub const members: u16 = 6;
        /// LogRequest; one DecidedBlock per event, then nothing.
        pub const log: u16 = 7;
        /// SubscribeRequest; a DecidedBlock per event, from a height on, until the call ends.
        pub const subscribe: u16 = 8;
        /// HistoryRequest; NameHistory: the changes of a name, the last first.
        pub const history: u16 = 9;
        /// EvidenceList: proofs against voters that this node has seen, and what was decided on them.
        pub const evidence: u16 = 10;
        /// NameRequest; a NameProof in bytes, which verifies without this node.
        pub const proof: u16 = 11;
        /// JoinRequest: redeems an invitation and takes part in its issuer's mesh from then on; JoinReply.
        pub const join: u16 = 12;
    };

    /// Methods of the metrics service.
    pub const metrics = struct {
        /// NodeStatus: components, sockets, layers.
        pub const status: u16 = 1;
        /// Prometheus text.
        pub const scrape: u16 = 2;
    };

    /// Methods of the ifr service.
    pub const ifr = struct {
        /// IfrStats: entries, memory, requests, journal.
        pub const stats: u16 = 1;
        /// IfrKey; the value, or no body when the key is not here.
        pub const get: u16 = 2;
        /// IfrPut; the value that it replaced, or no body.
        pub const put: u16 = 3;
        /// IfrKey; the value that was removed, or no body.
        pub const remove: u16 = 4;
        /// IfrKeys; IfrValues.
        pub const get_many: u16 = 5;
        /// IfrEntries; IfrDone.
        pub const put_many: u16 = 6;
        /// IfrKeys; IfrFound: which were here.
        pub const remove_many: u16 = 7;
        /// IfrKeys; IfrFound by the filter alone: 0 is sure, 1 is a maybe.
        pub const may_contain: u16 = 8;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const snapshot: u16 = 9;
        /// IfrPool: makes a pool, of records or of values, with a budget.
        pub const pool_add: u16 = 10;
        /// IfrPool: forgets a pool with all that it holds; budget and flags are 0.
        pub const pool_drop: u16 = 11;
        /// IfrPool; IfrPoolStats. Budget and flags are 0.
        pub const pool_stats: u16 = 12;
        /// IfrFlowPut; the record that it replaced, or no body.
        pub const flow_put: u16 = 13;
        /// IfrKey of a digest; its record, or no body when none lives.
        pub const flow_get: u16 = 14;
        /// IfrKey of a digest; the record that was removed, or no body.
        pub const flow_remove: u16 = 15;
        /// IfrExpire: takes out what has expired; IfrDone.
        pub const flow_expire: u16 = 16;
        /// IfrRoute; IfrDecision: the record, or where to ask next.
        pub const flow_route: u16 = 17;
        /// IfrLearn: whether a layer that was asked had an answer.
        pub const flow_learn: u16 = 18;
        /// IfrPools: every pool, its budget and what it holds.
        pub const pools: u16 = 19;
    };

    /// Methods of the dsr service.
    pub const dsr = struct {
        /// DsrStats.
        pub const stats: u16 = 1;
        /// DsrInsertRequest: keeps a vector under a key; DsrInsertReply.
        pub const insert: u16 = 2;
        /// DsrRemoveRequest: forgets an entry or a pool.
        pub const remove: u16 = 3;
        /// DsrSimilarRequest; DsrMatches, most similar first.
        pub const similar: u16 = 4;
        /// DsrExplainRequest; DsrExplanation: why an entry is found for a vector, or is not.
        pub const explain: u16 = 5;
        /// DsrNoveltyRequest; DsrNovelty: how unlike everything in the pool.
        pub const novelty: u16 = 6;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const snapshot: u16 = 7;
    };

    /// Methods of the alm service.
    pub const alm = struct {
        /// AlmStats.
        pub const stats: u16 = 1;
        /// AlmEdges: sets the strength of edges.
        pub const add: u16 = 2;
        /// AlmEdges: adds to the strength of edges.
        pub const reinforce: u16 = 3;
        /// AlmEdges: forgets edges; an empty target forgets the node.
        pub const remove: u16 = 4;
        /// AlmNeighboursRequest; AlmEdges, strongest first.
        pub const neighbours: u16 = 5;
        /// AlmPathRequest; AlmPath.
        pub const best_path: u16 = 6;
        /// AlmRankRequest; AlmRanking, best first.
        pub const rank: u16 = 7;
        /// Writes a snapshot to disk now.
        pub const snapshot: u16 = 8;
        /// AlmPathRequest; AlmPaths: the k best loopless ones, best first.
        pub const best_paths: u16 = 9;
        /// AlmAssociatesRequest; AlmAssociates, best first.
        pub const associates: u16 = 10;
        /// AlmGroup: keys that were used together; the predictor learns.
        pub const observe: u16 = 11;
        /// AlmPredictRequest; AlmPredictions: what is used with a key, best first.
        pub const predict: u16 = 12;
        /// AlmPool: makes a pool, or changes its budgets.
        pub const pool_set: u16 = 13;
        /// AlmPool: forgets a pool with all that is in it.
        pub const pool_drop: u16 = 14;
        /// AlmPools.
        pub const pools: u16 = 15;
        /// AlmPool: chooses landmarks that shorten searches until a link grows.
        pub const prepare: u16 = 16;
    };

    /// Methods of the cpe service.
    pub const cpe = struct {
        /// CpeStatsRequest; CpeStats: the pools, and the scores of a stream if one is named.
        pub const stats: u16 = 1;
        /// CpeObserveRequest: keys came in a stream, in this order; CpeObserved: how each had been predicted.
        pub const observe: u16 = 2;
        /// CpePredictRequest; CpePrediction: what comes next, how sure that is, and when.
        pub const predict: u16 = 3;
        /// CpeSampleRequest: a number came in a series; CpeSampled.
        pub const sample: u16 = 4;
        /// CpeForecastRequest; CpeForecast: quantiles of the numbers to come.
        pub const forecast: u16 = 5;
        /// CpeForgetRequest: forgets a stream, a series or a pool.
        pub const forget: u16 = 6;
        /// Writes a snapshot now and begins a new log; answers when it is on disk.
        pub const snapshot: u16 = 7;
        /// CpeExplainRequest; CpeExplanation: who gives a key its probability now, and on what grounds.
        pub const explain: u16 = 8;
    };
};

/// How a call ended: 0 is success, errors are negative.
pub const Status = enum(i32) {
    /// Success.
    ok = 0,
    /// An argument is outside what the function accepts.
    invalid_argument = -1,
    /// What was asked for is not here.
    not_found = -2,
    /// Something of that name is already here.
    already_exists = -3,
    /// The buffer is too small; the needed size was written.
    no_space = -4,
    /// A configured limit would be exceeded.
    limit = -5,
    /// Memory could not be allocated.
    out_of_memory = -6,
    /// This service does not know the method.
    unsupported = -7,
    /// The caller cancelled the request.
    cancelled = -8,
    /// The deadline passed before the answer.
    deadline = -9,
    /// A bounded queue is full; try again later.
    busy = -10,
    /// The connection or the handle is closed.
    closed = -11,
    /// The caller may not do this.
    denied = -12,
    /// The component has nothing to serve yet.
    not_ready = -13,
    /// The operating system reported an error.
    io = -14,
    /// Stored data does not match its checksum.
    corrupt = -15,
    /// No peer that could answer was reached.
    @"unreachable" = -16,
    /// The store's quota or the disk is full.
    quota = -17,
    /// The destination is in the way or names collide there.
    conflict = -18,
    /// Calls like this one failed too often; none is made until a pause is over.
    circuit_open = -30,
    /// A broken invariant was caught at the border; the handle must be freed.
    panic = -98,
    /// An error that should not happen; please report it.
    internal = -99,
    /// The frame ends before its header does.
    frame_short = -100,
    /// The frame is longer than the limit.
    frame_too_large = -101,
    /// The length prefix and the bytes present disagree.
    frame_length = -102,
    /// The header's version is not ours.
    bad_version = -103,
    /// The frame's kind is unknown.
    bad_kind = -104,
    /// The service is unknown.
    bad_service = -105,
    /// The content type is unknown, or `none` has a body.
    bad_content_type = -106,
    /// A flag is set that this version does not define.
    bad_flags = -107,
    /// The status does not fit the kind: errors are negative, all else is 0.
    bad_status = -108,
    /// The request id does not fit the kind.
    bad_request_id = -109,
    /// The credit is above the limit, or stands where none may.
    bad_credit = -110,
    /// The TLV area or an entry in it runs past its end, or a known entry has a wrong length.
    bad_tlv = -111,
    /// A text body or text entry is not UTF-8.
    bad_utf8 = -112,
    /// The body does not decode as the method's message.
    bad_body = -113,
    /// The frame does not fit the state of the connection.
    unexpected_frame = -114,
    _,
};
