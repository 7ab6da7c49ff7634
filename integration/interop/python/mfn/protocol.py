"""Constants of the local wire. Generated from ffi/protocol/constants.toml by `./make gen`; do not edit."""

from enum import IntEnum

#: The major version of the local wire.
VERSION = 1


class Status(IntEnum):
    """How a call ended: 0 is success, errors are negative."""

    #: Success.
    OK = 0
    #: An argument is outside what the function accepts.
    INVALID_ARGUMENT = -1
    #: What was asked for is not here.
    NOT_FOUND = -2
    #: Something of that name is already here.
    ALREADY_EXISTS = -3
    #: The buffer is too small; the needed size was written.
    NO_SPACE = -4
    #: A configured limit would be exceeded.
    LIMIT = -5
    #: Memory could not be allocated.
    OUT_OF_MEMORY = -6
    #: This service does not know the method.
    UNSUPPORTED = -7
    #: The caller cancelled the request.
    CANCELLED = -8
    #: The deadline passed before the answer.
    DEADLINE = -9
    #: A bounded queue is full; try again later.
    BUSY = -10
    #: The connection or the handle is closed.
    CLOSED = -11
    #: The caller may not do this.
    DENIED = -12
    #: The component has nothing to serve yet.
    NOT_READY = -13
    #: The operating system reported an error.
    IO = -14
    #: Stored data does not match its checksum.
    CORRUPT = -15
    #: No peer that could answer was reached.
    UNREACHABLE = -16
    #: The store's quota or the disk is full.
    QUOTA = -17
    #: The destination is in the way or names collide there.
    CONFLICT = -18
    #: Calls like this one failed too often; none is made until a pause is over.
    CIRCUIT_OPEN = -30
    #: A broken invariant was caught at the border; the handle must be freed.
    PANIC = -98
    #: An error that should not happen; please report it.
    INTERNAL = -99
    #: The frame ends before its header does.
    FRAME_SHORT = -100
    #: The frame is longer than the limit.
    FRAME_TOO_LARGE = -101
    #: The length prefix and the bytes present disagree.
    FRAME_LENGTH = -102
    #: The header's version is not ours.
    BAD_VERSION = -103
    #: The frame's kind is unknown.
    BAD_KIND = -104
    #: The service is unknown.
    BAD_SERVICE = -105
    #: The content type is unknown, or `none` has a body.
    BAD_CONTENT_TYPE = -106
    #: A flag is set that this version does not define.
    BAD_FLAGS = -107
    #: The status does not fit the kind: errors are negative, all else is 0.
    BAD_STATUS = -108
    #: The request id does not fit the kind.
    BAD_REQUEST_ID = -109
    #: The credit is above the limit, or stands where none may.
    BAD_CREDIT = -110
    #: The TLV area or an entry in it runs past its end, or a known entry has a wrong length.
    BAD_TLV = -111
    #: A text body or text entry is not UTF-8.
    BAD_UTF8 = -112
    #: The body does not decode as the method's message.
    BAD_BODY = -113
    #: The frame does not fit the state of the connection.
    UNEXPECTED_FRAME = -114


class Service(IntEnum):
    """What a socket serves."""

    #: hypermesh_transport.sock
    TRANSPORT = 1
    #: hypermesh_state.sock
    STATE = 2
    #: hypermesh_scheduler.sock
    SCHEDULER = 3
    #: hypermesh_consensus.sock
    CONSENSUS = 4
    #: hypermesh_metrics.sock
    METRICS = 5
    #: mfn_ifr.sock
    IFR = 6
    #: mfn_dsr.sock
    DSR = 7
    #: mfn_alm.sock
    ALM = 8
    #: mfn_cpe.sock
    CPE = 9


class ContentType(IntEnum):
    """What a body is."""

    #: The body is empty.
    NONE = 0
    #: A fixed little-endian layout of the method.
    FIXED = 1
    #: A proto3 message of the method.
    PROTOBUF = 2
    #: Opaque bytes.
    BYTES = 3
    #: UTF-8 text.
    TEXT = 4


class IfrKey(IntEnum):
    """What a key of the ifr service is."""

    #: 32 bytes that are evenly spread, such as a BLAKE3 hash.
    DIGEST = 1
    #: Bytes of any form and length up to the limit.
    BYTES = 2


class TransportMethod(IntEnum):
    """Methods of the transport service."""

    #: TransportStatus of this node.
    STATUS = 1
    #: PeerList: every known peer, connected or not.
    PEERS = 2
    #: PingRequest; one PingEvent per probe, then a PingReply.
    PING = 3
    #: InviteRequest; an Invitation in text form.
    INVITE = 4
    #: JoinRequest; a JoinReply once the issuer accepted.
    JOIN = 5
    #: ForgetRequest: the peer is no member any more.
    FORGET = 6
    #: ConnectedRequest; ConnectedReply: peers that are connected, after a wait for a first one.
    CONNECTED = 7
    #: HoldersRequest; HoldersReply: those that say they have a block.
    HOLDERS = 8
    #: FetchRequest: moves what a session of state wants; Fetched so far as events, and in the end.
    FETCH = 9
    #: ProcessReport of the process that serves this socket.
    REPORT = 10
    #: What peers tell, and what the consensus component has to know of them: HeardEvents until the call ends. One at a time.
    HEAR = 11
    #: TellRequest: tells peers. Never waits for them; what does not fit is dropped.
    TELL = 12
    #: OrderedMembers: who belongs by what is decided, who no longer does, and the mesh.
    ORDER = 13


class StateMethod(IntEnum):
    """Methods of the state service."""

    #: StateStatus: what the store holds and may hold.
    STATUS = 1
    #: PutRequest; Progress events, then a PutReply with the root.
    PUT = 2
    #: ListRequest; one Entry per event, then a ListReply.
    LIST = 3
    #: CatRequest; events of bytes, then a CatReply.
    CAT = 4
    #: StatRequest; one Entry.
    STAT = 5
    #: PinRequest: keeps a root through gc.
    PIN = 6
    #: PinRequest: lets gc take a root.
    UNPIN = 7
    #: RootList: the roots that this store knows.
    ROOTS = 8
    #: GcRequest; Progress events, then a GcReply.
    GC = 9
    #: FsckRequest; one FsckFinding per event, then a FsckReply.
    FSCK = 10
    #: BlockIds; BlocksHere, in their order.
    HAS = 11
    #: ReadRequest: blocks as they travel; ReadReply.
    READ = 12
    #: ReceiveRequest: opens a session for a fetch; ReceiveEvents, then a ReceiveReply once it is over.
    RECEIVE = 13
    #: WantedRequest; WantedReply: blocks of a session to get next.
    WANTED = 14
    #: AcceptRequest: blocks of a session as they arrived; AcceptReply.
    ACCEPT = 15
    #: ReceivedRequest: no more comes for a session.
    RECEIVED = 16
    #: ProcessReport of the process that serves this socket.
    REPORT = 17


class SchedulerMethod(IntEnum):
    """Methods of the scheduler service."""

    #: SchedulerStatus: running and recent jobs, the adviser.
    STATUS = 1
    #: GetRequest; Progress events, then a GetReply.
    GET = 2
    #: FetchPartRequest: gets one block, or what a path needs; FetchPartReply.
    FETCH = 3
    #: ProcessReport of the process that serves this socket.
    REPORT = 4


class ConsensusMethod(IntEnum):
    """Methods of the consensus service."""

    #: ConsensusStatus: the mesh, its height, its voters, what waits.
    STATUS = 1
    #: ProcessReport of the process that serves this socket.
    REPORT = 2
    #: SubmitRequest: signs an action by this node and has it ordered; SubmitReply once it is decided.
    SUBMIT = 3
    #: NameRequest; NameEntry of the last decided height.
    NAME = 4
    #: NamesRequest; NameList: names below a prefix, in order, and where to go on.
    NAMES = 5
    #: MemberList: who belongs to the mesh, delegations, motions under way.
    MEMBERS = 6
    #: LogRequest; one DecidedBlock per event, then nothing.
    LOG = 7
    #: SubscribeRequest; a DecidedBlock per event, from a height on, until the call ends.
    SUBSCRIBE = 8
    #: HistoryRequest; NameHistory: the changes of a name, the last first.
    HISTORY = 9
    #: EvidenceList: proofs against voters that this node has seen, and what was decided on them.
    EVIDENCE = 10
    #: NameRequest; a NameProof in bytes, which verifies without this node.
    PROOF = 11
    #: JoinRequest: redeems an invitation and takes part in its issuer's mesh from then on; JoinReply.
    JOIN = 12


class MetricsMethod(IntEnum):
    """Methods of the metrics service."""

    #: NodeStatus: components, sockets, layers.
    STATUS = 1
    #: Prometheus text.
    SCRAPE = 2


class IfrMethod(IntEnum):
    """Methods of the ifr service."""

    #: IfrStats: entries, memory, requests, journal.
    STATS = 1
    #: IfrKey; the value, or no body when the key is not here.
    GET = 2
    #: IfrPut; the value that it replaced, or no body.
    PUT = 3
    #: IfrKey; the value that was removed, or no body.
    REMOVE = 4
    #: IfrKeys; IfrValues.
    GET_MANY = 5
    #: IfrEntries; IfrDone.
    PUT_MANY = 6
    #: IfrKeys; IfrFound: which were here.
    REMOVE_MANY = 7
    #: IfrKeys; IfrFound by the filter alone: 0 is sure, 1 is a maybe.
    MAY_CONTAIN = 8
    #: Writes a snapshot now and begins a new log; answers when it is on disk.
    SNAPSHOT = 9
    #: IfrPool: makes a pool, of records or of values, with a budget.
    POOL_ADD = 10
    #: IfrPool: forgets a pool with all that it holds; budget and flags are 0.
    POOL_DROP = 11
    #: IfrPool; IfrPoolStats. Budget and flags are 0.
    POOL_STATS = 12
    #: IfrFlowPut; the record that it replaced, or no body.
    FLOW_PUT = 13
    #: IfrKey of a digest; its record, or no body when none lives.
    FLOW_GET = 14
    #: IfrKey of a digest; the record that was removed, or no body.
    FLOW_REMOVE = 15
    #: IfrExpire: takes out what has expired; IfrDone.
    FLOW_EXPIRE = 16
    #: IfrRoute; IfrDecision: the record, or where to ask next.
    FLOW_ROUTE = 17
    #: IfrLearn: whether a layer that was asked had an answer.
    FLOW_LEARN = 18
    #: IfrPools: every pool, its budget and what it holds.
    POOLS = 19


class DsrMethod(IntEnum):
    """Methods of the dsr service."""

    #: DsrStats.
    STATS = 1
    #: DsrInsertRequest: keeps a vector under a key; DsrInsertReply.
    INSERT = 2
    #: DsrRemoveRequest: forgets an entry or a pool.
    REMOVE = 3
    #: DsrSimilarRequest; DsrMatches, most similar first.
    SIMILAR = 4
    #: DsrExplainRequest; DsrExplanation: why an entry is found for a vector, or is not.
    EXPLAIN = 5
    #: DsrNoveltyRequest; DsrNovelty: how unlike everything in the pool.
    NOVELTY = 6
    #: Writes a snapshot now and begins a new log; answers when it is on disk.
    SNAPSHOT = 7


class AlmMethod(IntEnum):
    """Methods of the alm service."""

    #: AlmStats.
    STATS = 1
    #: AlmEdges: sets the strength of edges.
    ADD = 2
    #: AlmEdges: adds to the strength of edges.
    REINFORCE = 3
    #: AlmEdges: forgets edges; an empty target forgets the node.
    REMOVE = 4
    #: AlmNeighboursRequest; AlmEdges, strongest first.
    NEIGHBOURS = 5
    #: AlmPathRequest; AlmPath.
    BEST_PATH = 6
    #: AlmRankRequest; AlmRanking, best first.
    RANK = 7
    #: Writes a snapshot to disk now.
    SNAPSHOT = 8
    #: AlmPathRequest; AlmPaths: the k best loopless ones, best first.
    BEST_PATHS = 9
    #: AlmAssociatesRequest; AlmAssociates, best first.
    ASSOCIATES = 10
    #: AlmGroup: keys that were used together; the predictor learns.
    OBSERVE = 11
    #: AlmPredictRequest; AlmPredictions: what is used with a key, best first.
    PREDICT = 12
    #: AlmPool: makes a pool, or changes its budgets.
    POOL_SET = 13
    #: AlmPool: forgets a pool with all that is in it.
    POOL_DROP = 14
    #: AlmPools.
    POOLS = 15
    #: AlmPool: chooses landmarks that shorten searches until a link grows.
    PREPARE = 16


class CpeMethod(IntEnum):
    """Methods of the cpe service."""

    #: CpeStatsRequest; CpeStats: the pools, and the scores of a stream if one is named.
    STATS = 1
    #: CpeObserveRequest: keys came in a stream, in this order; CpeObserved: how each had been predicted.
    OBSERVE = 2
    #: CpePredictRequest; CpePrediction: what comes next, how sure that is, and when.
    PREDICT = 3
    #: CpeSampleRequest: a number came in a series; CpeSampled.
    SAMPLE = 4
    #: CpeForecastRequest; CpeForecast: quantiles of the numbers to come.
    FORECAST = 5
    #: CpeForgetRequest: forgets a stream, a series or a pool.
    FORGET = 6
    #: Writes a snapshot now and begins a new log; answers when it is on disk.
    SNAPSHOT = 7
    #: CpeExplainRequest; CpeExplanation: who gives a key its probability now, and on what grounds.
    EXPLAIN = 8


#: The methods of each service.
METHODS: dict[Service, type[IntEnum]] = {
    Service.TRANSPORT: TransportMethod,
    Service.STATE: StateMethod,
    Service.SCHEDULER: SchedulerMethod,
    Service.CONSENSUS: ConsensusMethod,
    Service.METRICS: MetricsMethod,
    Service.IFR: IfrMethod,
    Service.DSR: DsrMethod,
    Service.ALM: AlmMethod,
    Service.CPE: CpeMethod,
}
