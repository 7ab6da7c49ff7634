/* Constants of the local wire.
 * Generated from ffi/protocol/constants.toml by `./make gen`; do not edit. */
#ifndef MFN_PROTOCOL_H
#define MFN_PROTOCOL_H

#include <stdint.h>

/* The major version of the local wire. */
#define MFN_WIRE_VERSION 1

/* Limits and sizes. */
#define MFN_WIRE_LENGTH_BYTES 4u /* The length prefix. */
#define MFN_WIRE_HEADER_BYTES 56u /* Fixed header, the 4-byte length not counted. */
#define MFN_WIRE_CONNECTIONS_MAX 4096u /* Connections per socket. */
#define MFN_WIRE_ERROR_TEXT_BYTES_MAX 4096u /* Longest text of an error frame. */
#define MFN_WIRE_IFR_BATCH_KEYS_MAX 4096u /* Keys in one batch request of the ifr service. */
#define MFN_WIRE_REQUESTS_IN_FLIGHT_MAX 4096u /* Requests in flight per connection. */
#define MFN_WIRE_CREDIT_MAX 65536u /* Most event frames a caller may allow at once. */
#define MFN_WIRE_IFR_KEY_BYTES_MAX 65536u /* Longest byte key of the ifr service. */
#define MFN_WIRE_TLV_AREA_BYTES_MAX 65536u /* Longest TLV area, its own 4-byte length not counted. */
#define MFN_WIRE_FRAME_BYTES_MAX 16777216u /* Longest frame, the 4-byte length not counted. */

/* What a frame is. */
#define MFN_KIND_HELLO 1u /* First frame of each side: version, features, service, limits. */
#define MFN_KIND_REQUEST 2u /* Asks a method; `request_id` names it, `credit` allows that many events. */
#define MFN_KIND_REPLY 3u /* Ends a request that succeeded. */
#define MFN_KIND_ERROR 4u /* Ends a request that failed: `status` and a text body. Id 0: ends the connection. */
#define MFN_KIND_EVENT 5u /* One item of a streamed answer; uses one credit. */
#define MFN_KIND_CANCEL 6u /* The caller no longer wants the answer. */
#define MFN_KIND_CREDIT 7u /* The caller allows `credit` more events. */
#define MFN_KIND_PING 8u /* Asks whether the other side is alive. */
#define MFN_KIND_PONG 9u /* Answers a ping with its id. */
#define MFN_KIND_GOAWAY 10u /* No new requests are accepted; accepted ones are answered. */

/* Services. */
#define MFN_SERVICE_TRANSPORT 1u /* hypermesh_transport.sock */
#define MFN_SERVICE_STATE 2u /* hypermesh_state.sock */
#define MFN_SERVICE_SCHEDULER 3u /* hypermesh_scheduler.sock */
#define MFN_SERVICE_CONSENSUS 4u /* hypermesh_consensus.sock */
#define MFN_SERVICE_METRICS 5u /* hypermesh_metrics.sock */
#define MFN_SERVICE_IFR 6u /* mfn_ifr.sock */
#define MFN_SERVICE_DSR 7u /* mfn_dsr.sock */
#define MFN_SERVICE_ALM 8u /* mfn_alm.sock */
#define MFN_SERVICE_CPE 9u /* mfn_cpe.sock */

/* What a body is. */
#define MFN_CONTENT_TYPE_NONE 0u /* The body is empty. */
#define MFN_CONTENT_TYPE_FIXED 1u /* A fixed little-endian layout of the method. */
#define MFN_CONTENT_TYPE_PROTOBUF 2u /* A proto3 message of the method. */
#define MFN_CONTENT_TYPE_BYTES 3u /* Opaque bytes. */
#define MFN_CONTENT_TYPE_TEXT 4u /* UTF-8 text. */

/* Bits of the header's flags. */
#define MFN_FLAG_TLV 1u /* A TLV area stands between header and body. */
#define MFN_FLAG_SAMPLED 2u /* The trace is sampled. */

/* Types of TLV entries. */
#define MFN_TLV_FEATURES 1u /* HELLO: u64 bit set of features. */
#define MFN_TLV_LIMITS 2u /* HELLO: u32 frame bytes, u32 requests in flight, u32 connections. */
#define MFN_TLV_SOFTWARE 3u /* HELLO: UTF-8 name and version of the program. */

/* Bits of the features that HELLO announces. */
#define MFN_FEATURE_SHARED_MEMORY 1u /* Reserved: frames by a ring in shared memory. Nobody announces it yet. */

/* What a key of the ifr service is. */
#define MFN_IFR_KEY_DIGEST 1u /* 32 bytes that are evenly spread, such as a BLAKE3 hash. */
#define MFN_IFR_KEY_BYTES 2u /* Bytes of any form and length up to the limit. */

/* Methods of the transport service. */
#define MFN_METHOD_TRANSPORT_STATUS 1u /* TransportStatus of this node. */
#define MFN_METHOD_TRANSPORT_PEERS 2u /* PeerList: every known peer, connected or not. */
#define MFN_METHOD_TRANSPORT_PING 3u /* PingRequest; one PingEvent per probe, then a PingReply. */
#define MFN_METHOD_TRANSPORT_INVITE 4u /* InviteRequest; an Invitation in text form. */
#define MFN_METHOD_TRANSPORT_JOIN 5u /* JoinRequest; a JoinReply once the issuer accepted. */
#define MFN_METHOD_TRANSPORT_FORGET 6u /* ForgetRequest: the peer is no member any more. */
#define MFN_METHOD_TRANSPORT_CONNECTED 7u /* ConnectedRequest; ConnectedReply: peers that are connected, after a wait for a first one. */
#define MFN_METHOD_TRANSPORT_HOLDERS 8u /* HoldersRequest; HoldersReply: those that say they have a block. */
#define MFN_METHOD_TRANSPORT_FETCH 9u /* FetchRequest: moves what a session of state wants; Fetched so far as events, and in the end. */
#define MFN_METHOD_TRANSPORT_REPORT 10u /* ProcessReport of the process that serves this socket. */
#define MFN_METHOD_TRANSPORT_HEAR 11u /* What peers tell, and what the consensus component has to know of them: HeardEvents until the call ends. One at a time. */
#define MFN_METHOD_TRANSPORT_TELL 12u /* TellRequest: tells peers. Never waits for them; what does not fit is dropped. */
#define MFN_METHOD_TRANSPORT_ORDER 13u /* OrderedMembers: who belongs by what is decided, who no longer does, and the mesh. */

/* Methods of the state service. */
#define MFN_METHOD_STATE_STATUS 1u /* StateStatus: what the store holds and may hold. */
#define MFN_METHOD_STATE_PUT 2u /* PutRequest; Progress events, then a PutReply with the root. */
#define MFN_METHOD_STATE_LIST 3u /* ListRequest; one Entry per event, then a ListReply. */
#define MFN_METHOD_STATE_CAT 4u /* CatRequest; events of bytes, then a CatReply. */
#define MFN_METHOD_STATE_STAT 5u /* StatRequest; one Entry. */
#define MFN_METHOD_STATE_PIN 6u /* PinRequest: keeps a root through gc. */
#define MFN_METHOD_STATE_UNPIN 7u /* PinRequest: lets gc take a root. */
#define MFN_METHOD_STATE_ROOTS 8u /* RootList: the roots that this store knows. */
#define MFN_METHOD_STATE_GC 9u /* GcRequest; Progress events, then a GcReply. */
#define MFN_METHOD_STATE_FSCK 10u /* FsckRequest; one FsckFinding per event, then a FsckReply. */
#define MFN_METHOD_STATE_HAS 11u /* BlockIds; BlocksHere, in their order. */
#define MFN_METHOD_STATE_READ 12u /* ReadRequest: blocks as they travel; ReadReply. */
#define MFN_METHOD_STATE_RECEIVE 13u /* ReceiveRequest: opens a session for a fetch; ReceiveEvents, then a ReceiveReply once it is over. */
#define MFN_METHOD_STATE_WANTED 14u /* WantedRequest; WantedReply: blocks of a session to get next. */
#define MFN_METHOD_STATE_ACCEPT 15u /* AcceptRequest: blocks of a session as they arrived; AcceptReply. */
#define MFN_METHOD_STATE_RECEIVED 16u /* ReceivedRequest: no more comes for a session. */
#define MFN_METHOD_STATE_REPORT 17u /* ProcessReport of the process that serves this socket. */

/* Methods of the scheduler service. */
#define MFN_METHOD_SCHEDULER_STATUS 1u /* SchedulerStatus: running and recent jobs, the adviser. */
#define MFN_METHOD_SCHEDULER_GET 2u /* GetRequest; Progress events, then a GetReply. */
#define MFN_METHOD_SCHEDULER_FETCH 3u /* FetchPartRequest: gets one block, or what a path needs; FetchPartReply. */
#define MFN_METHOD_SCHEDULER_REPORT 4u /* ProcessReport of the process that serves this socket. */

/* Methods of the consensus service. */
#define MFN_METHOD_CONSENSUS_STATUS 1u /* ConsensusStatus: the mesh, its height, its voters, what waits. */
#define MFN_METHOD_CONSENSUS_REPORT 2u /* ProcessReport of the process that serves this socket. */
#define MFN_METHOD_CONSENSUS_SUBMIT 3u /* SubmitRequest: signs an action by this node and has it ordered; SubmitReply once it is decided. */
#define MFN_METHOD_CONSENSUS_NAME 4u /* NameRequest; NameEntry of the last decided height. */
#define MFN_METHOD_CONSENSUS_NAMES 5u /* NamesRequest; NameList: names below a prefix, in order, and where to go on. */
#define MFN_METHOD_CONSENSUS_MEMBERS 6u /* MemberList: who belongs to the mesh, delegations, motions under way. */
#define MFN_METHOD_CONSENSUS_LOG 7u /* LogRequest; one DecidedBlock per event, then nothing. */
#define MFN_METHOD_CONSENSUS_SUBSCRIBE 8u /* SubscribeRequest; a DecidedBlock per event, from a height on, until the call ends. */
#define MFN_METHOD_CONSENSUS_HISTORY 9u /* HistoryRequest; NameHistory: the changes of a name, the last first. */
#define MFN_METHOD_CONSENSUS_EVIDENCE 10u /* EvidenceList: proofs against voters that this node has seen, and what was decided on them. */
#define MFN_METHOD_CONSENSUS_PROOF 11u /* NameRequest; a NameProof in bytes, which verifies without this node. */
#define MFN_METHOD_CONSENSUS_JOIN 12u /* JoinRequest: redeems an invitation and takes part in its issuer's mesh from then on; JoinReply. */

/* Methods of the metrics service. */
#define MFN_METHOD_METRICS_STATUS 1u /* NodeStatus: components, sockets, layers. */
#define MFN_METHOD_METRICS_SCRAPE 2u /* Prometheus text. */

/* Methods of the ifr service. */
#define MFN_METHOD_IFR_STATS 1u /* IfrStats: entries, memory, requests, journal. */
#define MFN_METHOD_IFR_GET 2u /* IfrKey; the value, or no body when the key is not here. */
#define MFN_METHOD_IFR_PUT 3u /* IfrPut; the value that it replaced, or no body. */
#define MFN_METHOD_IFR_REMOVE 4u /* IfrKey; the value that was removed, or no body. */
#define MFN_METHOD_IFR_GET_MANY 5u /* IfrKeys; IfrValues. */
#define MFN_METHOD_IFR_PUT_MANY 6u /* IfrEntries; IfrDone. */
#define MFN_METHOD_IFR_REMOVE_MANY 7u /* IfrKeys; IfrFound: which were here. */
#define MFN_METHOD_IFR_MAY_CONTAIN 8u /* IfrKeys; IfrFound by the filter alone: 0 is sure, 1 is a maybe. */
#define MFN_METHOD_IFR_SNAPSHOT 9u /* Writes a snapshot now and begins a new log; answers when it is on disk. */
#define MFN_METHOD_IFR_POOL_ADD 10u /* IfrPool: makes a pool, of records or of values, with a budget. */
#define MFN_METHOD_IFR_POOL_DROP 11u /* IfrPool: forgets a pool with all that it holds; budget and flags are 0. */
#define MFN_METHOD_IFR_POOL_STATS 12u /* IfrPool; IfrPoolStats. Budget and flags are 0. */
#define MFN_METHOD_IFR_FLOW_PUT 13u /* IfrFlowPut; the record that it replaced, or no body. */
#define MFN_METHOD_IFR_FLOW_GET 14u /* IfrKey of a digest; its record, or no body when none lives. */
#define MFN_METHOD_IFR_FLOW_REMOVE 15u /* IfrKey of a digest; the record that was removed, or no body. */
#define MFN_METHOD_IFR_FLOW_EXPIRE 16u /* IfrExpire: takes out what has expired; IfrDone. */
#define MFN_METHOD_IFR_FLOW_ROUTE 17u /* IfrRoute; IfrDecision: the record, or where to ask next. */
#define MFN_METHOD_IFR_FLOW_LEARN 18u /* IfrLearn: whether a layer that was asked had an answer. */
#define MFN_METHOD_IFR_POOLS 19u /* IfrPools: every pool, its budget and what it holds. */

/* Methods of the dsr service. */
#define MFN_METHOD_DSR_STATS 1u /* DsrStats. */
#define MFN_METHOD_DSR_INSERT 2u /* DsrInsertRequest: keeps a vector under a key; DsrInsertReply. */
#define MFN_METHOD_DSR_REMOVE 3u /* DsrRemoveRequest: forgets an entry or a pool. */
#define MFN_METHOD_DSR_SIMILAR 4u /* DsrSimilarRequest; DsrMatches, most similar first. */
#define MFN_METHOD_DSR_EXPLAIN 5u /* DsrExplainRequest; DsrExplanation: why an entry is found for a vector, or is not. */
#define MFN_METHOD_DSR_NOVELTY 6u /* DsrNoveltyRequest; DsrNovelty: how unlike everything in the pool. */
#define MFN_METHOD_DSR_SNAPSHOT 7u /* Writes a snapshot now and begins a new log; answers when it is on disk. */

/* Methods of the alm service. */
#define MFN_METHOD_ALM_STATS 1u /* AlmStats. */
#define MFN_METHOD_ALM_ADD 2u /* AlmEdges: sets the strength of edges. */
#define MFN_METHOD_ALM_REINFORCE 3u /* AlmEdges: adds to the strength of edges. */
#define MFN_METHOD_ALM_REMOVE 4u /* AlmEdges: forgets edges; an empty target forgets the node. */
#define MFN_METHOD_ALM_NEIGHBOURS 5u /* AlmNeighboursRequest; AlmEdges, strongest first. */
#define MFN_METHOD_ALM_BEST_PATH 6u /* AlmPathRequest; AlmPath. */
#define MFN_METHOD_ALM_RANK 7u /* AlmRankRequest; AlmRanking, best first. */
#define MFN_METHOD_ALM_SNAPSHOT 8u /* Writes a snapshot to disk now. */
#define MFN_METHOD_ALM_BEST_PATHS 9u /* AlmPathRequest; AlmPaths: the k best loopless ones, best first. */
#define MFN_METHOD_ALM_ASSOCIATES 10u /* AlmAssociatesRequest; AlmAssociates, best first. */
#define MFN_METHOD_ALM_OBSERVE 11u /* AlmGroup: keys that were used together; the predictor learns. */
#define MFN_METHOD_ALM_PREDICT 12u /* AlmPredictRequest; AlmPredictions: what is used with a key, best first. */
#define MFN_METHOD_ALM_POOL_SET 13u /* AlmPool: makes a pool, or changes its budgets. */
#define MFN_METHOD_ALM_POOL_DROP 14u /* AlmPool: forgets a pool with all that is in it. */
#define MFN_METHOD_ALM_POOLS 15u /* AlmPools. */
#define MFN_METHOD_ALM_PREPARE 16u /* AlmPool: chooses landmarks that shorten searches until a link grows. */

/* Methods of the cpe service. */
#define MFN_METHOD_CPE_STATS 1u /* CpeStatsRequest; CpeStats: the pools, and the scores of a stream if one is named. */
#define MFN_METHOD_CPE_OBSERVE 2u /* CpeObserveRequest: keys came in a stream, in this order; CpeObserved: how each had been predicted. */
#define MFN_METHOD_CPE_PREDICT 3u /* CpePredictRequest; CpePrediction: what comes next, how sure that is, and when. */
#define MFN_METHOD_CPE_SAMPLE 4u /* CpeSampleRequest: a number came in a series; CpeSampled. */
#define MFN_METHOD_CPE_FORECAST 5u /* CpeForecastRequest; CpeForecast: quantiles of the numbers to come. */
#define MFN_METHOD_CPE_FORGET 6u /* CpeForgetRequest: forgets a stream, a series or a pool. */
#define MFN_METHOD_CPE_SNAPSHOT 7u /* Writes a snapshot now and begins a new log; answers when it is on disk. */
#define MFN_METHOD_CPE_EXPLAIN 8u /* CpeExplainRequest; CpeExplanation: who gives a key its probability now, and on what grounds. */

#endif
