"""What columns are usually called: names in English and Chinese, in any spelling.

`PatientID`, `patient_id`, `patientid` and `Patient ID` are one name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_IS_CHINESE = re.compile(r"[\u4e00-\u9fff]")

IDS = (
    "id", "uid", "uuid", "guid", "key", "rowid", "sampleid", "exampleid", "index", "idx",
    "编号", "序号", "行号",
)  # fmt: skip
ID_ENDINGS = ("id", "uid", "uuid", "guid", "key", "编号", "序号", "号", "号码")

SPLITS = (
    "split", "splits", "datasplit", "subset", "partition", "set", "dataset", "usage",
    "phase", "traintest", "trainvaltest", "划分", "数据划分", "数据集", "数据集划分", "集合",
)  # fmt: skip
FOLDS = ("fold", "folds", "kfold", "cv", "折", "折数", "交叉验证")
IS_TRAIN = (
    "istrain",
    "train",
    "training",
    "istraining",
    "intrain",
    "是否训练",
    "训练集",
)
IS_EVAL = (
    "istest", "test", "intest", "isval", "isvalid", "isvalidation", "val", "valid",
    "iseval", "holdout", "isholdout", "是否测试", "测试集",
)  # fmt: skip

LABELS = (
    "label", "labels", "class", "classname", "classlabel", "labelname", "target", "y",
    "groundtruth", "ytrue", "classid", "labelid", "targetid", "标签", "类别", "分类", "标注",
)  # fmt: skip
# Weaker names: they are often inputs.
LIKELY_LABELS = (
    "category", "topic", "genre", "department", "diagnosis", "dx", "outcome",
    "sentiment", "emotion", "intent", "species", "breed", "finding", "defect", "grade",
    "severity", "stage", "quality", "score", "rating", "stars", "price", "fraud", "spam",
    "isfraud", "isspam", "toxic", "survived", "churn", "churned", "clicked", "converted",
    "purchased", "default", "response", "result", "科室", "诊断", "评分", "分数", "得分", "评级", "情感",
    "意图", "结果", "价格", "group",
)  # fmt: skip

# Whose rows belong together, the surest first: a person, then what a person is seen in.
GROUPS = (
    "patient", "pt", "subject", "participant", "person", "individual", "speaker",
    "singer", "signer", "user", "customer", "client", "student", "author", "writer",
    "donor", "animal", "family", "household", "case", "lesion", "specimen", "slide",
    "study", "exam", "visit", "encounter", "admission", "session", "dialogue", "dialog",
    "conversation", "thread", "recording", "video", "sequence", "scene", "trip", "drive",
    "trajectory", "episode", "group", "cluster", "impression", "query",
    "患者", "病人", "受试者", "说话人", "用户", "客户", "学生", "作者", "病例", "病灶",
    "住院号", "门诊号", "就诊", "会话", "对话", "视频",
)  # fmt: skip
# Places whose rows are alike: they part rows too where there are many of them.
PLACES = (
    "hospital", "clinic", "site", "center", "centre", "institution", "scanner", "station",
    "医院", "院区", "中心", "机构",
)  # fmt: skip

PROVENANCE = (
    *PLACES,
    "license", "licence", "copyright", "source", "url", "uri", "link", "doi", "origin",
    "host", "location", "manufacturer", "vendor", "path", "filepath", "filename", "file",
    "folder", "directory", "uploader", "photographer", "credit", "attribution",
    "citation", "crawled", "scraped", "md5", "sha", "sha1", "sha256", "hash", "checksum",
    "来源", "出处", "链接", "网址", "路径", "文件", "厂商", "许可", "版权",
)  # fmt: skip
"""Words that tell where a row came from rather than what it shows."""

AFTERWARDS = (
    "survival", "survived", "died", "death", "deceased", "mortality", "discharge",
    "discharged", "los", "icu", "intubated", "outcome", "prognosis", "treatment",
    "therapy", "recovered", "recovery", "readmission", "readmitted", "complication",
    "complications", "followup", "relapse", "recurrence", "progression", "supplemental",
    "resolution", "resolved", "closed", "delivered", "shipped", "returned", "refund",
    "refunded", "cancelled", "canceled", "churned", "converted", "clicked", "purchased",
    "settlement", "verdict", "votes", "upvotes", "likes", "retweets", "prediction",
    "predictions", "predicted", "pred", "prob", "probability", "confidence", "logit",
    "logits", "annotator", "annotators", "reviewer", "rater", "labeler", "labeller",
    "随访", "预后", "转归", "出院", "死亡", "生存", "存活", "术后", "治疗", "住院天数", "结局",
    "复发", "处理结果", "点赞", "评论数", "转发数", "预测", "置信度", "标注人", "标注者", "审核人",
)  # fmt: skip
"""Words of what is only known once the answer is, or comes from who gave it."""

ABOUT_PERSONS = (
    "sex", "gender", "race", "ethnicity", "country", "nationality", "language", "voice",
    "性别", "民族", "国籍", "语言",
)  # fmt: skip
"""Few values each, and yet seldom what is predicted."""

PERSONS = (
    "firstname", "lastname", "surname", "fullname", "patientname", "username", "姓名",
)  # fmt: skip
PHONES = ("phone", "telephone", "tel", "mobile", "fax", "电话", "手机", "联系方式")
CODES = ("zip", "zipcode", "postcode", "postal", "plz", "邮编", "邮政编码")
TIMES = (
    "time", "timestamp", "date", "datetime", "epoch", "at", "created", "updated",
    "modified", "ts", "utc", "unix", "unixtime",
    "时间", "日期", "时间戳",
)  # fmt: skip


def words(name: str) -> tuple[str, ...]:
    """`PatientID` -> patient, id; Chinese stays in one piece."""
    return tuple(word.lower() for word in _WORD.findall(name))


def flat(name: str) -> str:
    """The words without anything between them: one spelling of all."""
    return "".join(words(name))


def is_one(name: str, known: Iterable[str]) -> bool:
    """Whether the whole name is one of these, in any spelling."""
    return flat(name) in known


def has_word(name: str, known: Collection[str]) -> bool:
    """Whether a word of the name is one of these; of Chinese, whether it holds one."""
    if any(word in known for word in words(name)) or flat(name) in known:
        return True
    return any(one in name for one in known if _IS_CHINESE.match(one))


def ends_as_id(name: str) -> bool:
    """Whether the name says that it tells things apart: `image_id`, `userId`, `编号`."""
    last = (words(name) or ("",))[-1]
    return last.endswith(ID_ENDINGS) if _IS_CHINESE.search(last) else (
        last in ID_ENDINGS or flat(name) in IDS
        or (last.endswith("id") and last[:-2] in GROUPS)
    )  # fmt: skip


def speaks_of(name: str, other: str) -> bool:
    """Whether one name holds all words of another: `dx_type` speaks of `dx`."""
    of = set(words(other))
    return len(flat(other)) > 1 and name != other and of <= set(words(name))


def is_afterwards(name: str) -> bool:
    """Whether the name says that it is known only once the answer is."""
    before = any(word in ("pre", "before", "baseline", "prior") for word in words(name))
    return has_word(name, AFTERWARDS) and not before and "前" not in name


def group_rank(name: str) -> int | None:
    """The place of the name among GROUPS; None where it names no group."""
    found = flat(name)
    for ending in (
        "",
        "id",
        "uid",
        "no",
        "nr",
        "number",
        "code",
        "key",
        "编号",
        "号",
        "id号",
    ):
        bare = found.removesuffix(ending) if ending else found
        if bare in GROUPS:
            return GROUPS.index(bare)
    chinese = (
        i for i, one in enumerate(GROUPS) if _IS_CHINESE.match(one) and one in name
    )
    return next(chinese, None)
