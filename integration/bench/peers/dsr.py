"""Peers of `bench-dsr`: hnswlib and faiss on the vectors of a directory, scikit-learn on its own digits.

The benchmark starts this once and writes commands to its standard input; each is answered by one line of JSON.
Every search is one query at a time on one thread, as ours is.

    build    builds all indices: seconds and bytes per vector of each
    tune     finds for each index and target the fastest setting whose recall of the ten nearest reaches it
    round    asks every query of each index with those settings: queries per second, recall, by target
    churn    replaces half of hnswlib's entries (deleted marks, places used again): recall after it
    digits   writes digits.json, one split per digit left out, and tells the AUC of LOF and isolation forest
"""

import json
import sys
import time

import numpy as np

directory, targets = sys.argv[1], sys.argv[2].split(",")


def load(name, width, kind="<f4"):
    return np.fromfile(f"{directory}/{name}", dtype=kind).reshape(-1, width)


class Vectors:
    """The indices, on the vectors that the benchmark wrote."""

    def build(self):
        import faiss
        import hnswlib

        self.dims = int(sys.argv[3])
        self.base = load("base.f32", self.dims)
        self.queries = load("queries.f32", self.dims)
        self.truth = load("truth.i64", 10, "<i8")
        faiss.omp_set_num_threads(1)
        count = len(self.base)
        lists = max(16, min(512, count // 39))
        answer = {}

        start = time.perf_counter()
        graph = hnswlib.Index("ip", self.dims)
        graph.init_index(count, M=16, ef_construction=200, random_seed=1, allow_replace_deleted=True)
        graph.set_num_threads(1)
        graph.add_items(self.base, np.arange(count))
        answer["hnswlib"] = (time.perf_counter() - start, graph.index_file_size() / count)
        self.graph = graph

        def hnsw(setting):
            graph.set_ef(setting)
            return lambda query: graph.knn_query(query, k=10)[0][0]

        start = time.perf_counter()
        flat = faiss.IndexIVFFlat(faiss.IndexFlatIP(self.dims), self.dims, lists, faiss.METRIC_INNER_PRODUCT)
        flat.train(self.base)
        flat.add(self.base)
        answer["faiss IVF"] = (time.perf_counter() - start, len(faiss.serialize_index(flat)) / count)

        def ivf(setting):
            flat.nprobe = setting
            return lambda query: flat.search(query, 10)[1][0]

        start = time.perf_counter()
        codes = faiss.IndexIVFPQFastScan(
            faiss.IndexFlatIP(self.dims), self.dims, lists, self.dims // 2, 4, faiss.METRIC_INNER_PRODUCT
        )
        refined = faiss.IndexRefineFlat(codes)
        refined.train(self.base)
        refined.add(self.base)
        answer["faiss IVF fast scan"] = (time.perf_counter() - start, len(faiss.serialize_index(refined)) / count)

        def fast(setting):
            codes.nprobe, refined.k_factor = setting
            return lambda query: refined.search(query, 10)[1][0]

        efs = [16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 512, 1024]
        probes = [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 128, 256]
        self.indices = {
            "hnswlib": (hnsw, efs),
            "faiss IVF": (ivf, probes),
            "faiss IVF fast scan": (fast, [(p, k) for p in probes for k in (5, 8, 12, 16, 24)]),
        }
        return answer

    def ask(self, search):
        found = np.empty((len(self.queries), 10), dtype=np.int64)
        start = time.perf_counter()
        for at in range(len(self.queries)):
            found[at] = search(self.queries[at : at + 1])
        rate = len(self.queries) / (time.perf_counter() - start)
        hits = [len(set(a) & set(b)) for a, b in zip(found, self.truth)]
        return rate, sum(hits) / (10 * len(hits))

    def tune(self):
        """The grids are wide and the queries are those that count: this favours the peer."""
        self.chosen = {target: {} for target in targets}
        for name, (make, settings) in self.indices.items():
            tried = [(*self.ask(make(setting)), setting) for setting in settings]
            for target in targets:
                enough = [one for one in tried if one[1] >= float(target)]
                chosen = max(enough, key=lambda one: one[0]) if enough else max(tried, key=lambda one: one[1])
                self.chosen[target][name] = chosen[2]
        return {target: {name: str(one) for name, one in chosen.items()} for target, chosen in self.chosen.items()}

    def round(self):
        return {
            target: {name: self.ask(self.indices[name][0](setting)) for name, setting in chosen.items()}
            for target, chosen in self.chosen.items()
        }

    def churn(self):
        """Half of the entries go, each replaced by itself under a new label: the truth keeps its vectors."""
        count = len(self.base)
        half = np.random.default_rng(1).permutation(count)[: count // 2]
        for label in half:
            self.graph.mark_deleted(int(label))
        self.graph.add_items(self.base[half], half + count, replace_deleted=True)
        make, _ = self.indices["hnswlib"]
        search = make(self.chosen["0.95"]["hnswlib"])
        return {"recall": self.ask(lambda query: search(query) % count)[1]}


def digits():
    from sklearn.datasets import load_digits
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import LocalOutlierFactor

    vectors, labels = load_digits(return_X_y=True)
    splits, lof, forest = [], [], []
    for strange in range(10):
        normal = np.random.default_rng(strange).permutation(np.where(labels != strange)[0])
        known, rest = normal[: len(normal) // 2], normal[len(normal) // 2 :]
        asked = np.concatenate([rest, np.where(labels == strange)[0]])
        truth = (labels[asked] == strange).astype(int)
        train, test = vectors[known], vectors[asked]
        lof.append(roc_auc_score(truth, -LocalOutlierFactor(novelty=True).fit(train).score_samples(test)))
        forest.append(roc_auc_score(truth, -IsolationForest(random_state=0).fit(train).score_samples(test)))
        splits.append({"train": train.tolist(), "test": test.tolist(), "strange": truth.tolist()})
    with open(f"{directory}/digits.json", "w") as out:
        json.dump(splits, out)
    return {"LOF": float(np.mean(lof)), "isolation forest": float(np.mean(forest))}


def main():
    vectors = Vectors()
    commands = {
        "build": vectors.build,
        "tune": vectors.tune,
        "round": vectors.round,
        "churn": vectors.churn,
        "digits": digits,
    }
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), flush=True)


main()
