"""Old scripts against the installed libraries: what is mended, what is left alone, and what is told."""

from collections.abc import Iterator

import pytest

from agents.mending import patch
from agents.mending.binding import unbound
from agents.mending.installed import Installed
from agents.mending.mend import mend_source
from agents.mending.settings import mend_settings

TA = "from transformers import Trainer, TrainingArguments\n"
SFT = "from transformers import TrainingArguments\nfrom trl import SFTTrainer\n"
FROM = "from transformers import AutoModelForCausalLM\n"


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with Installed() as one:
        yield one


# (name, the script, what its mended text must hold, what it must not hold)
MENDED = [
    ("renamed", TA + "TrainingArguments('o', evaluation_strategy='no')", ["eval_strategy='no'"], ["evaluation"]),
    ("a share of steps", TA + "TrainingArguments('o', warmup_ratio=r)", ["warmup_steps=r)"], ["ratio"]),
    ("steps first", TA + "TrainingArguments('o', warmup_steps=9, warmup_ratio=r)", ["('o', warmup_steps=9)"], ["=r"]),
    ("zero steps", TA + "TrainingArguments('o', warmup_ratio=r, warmup_steps=0)", ["('o', warmup_steps=r)"], []),
    ("either", TA + "TrainingArguments('o', warmup_steps=n, warmup_ratio=r)", ["warmup_steps=n or r"], []),
    ("wrapped", TA + "TrainingArguments('o', group_by_length=True)", ['train_sampling_strategy="group_by_length"'], []),
    ("computed", TA + "TrainingArguments('o', group_by_length=g)", ['"group_by_length" if g else "random"'], []),
    ("off", TA + "TrainingArguments('o', group_by_length=False)", ["TrainingArguments('o')"], []),
    ("dropped", TA + "TrainingArguments('o', logging_dir='l')", ["TrainingArguments('o')"], []),
    (
        "bound anew",
        SFT + "n = 1\na = TrainingArguments('o')\nn = 3\nSFTTrainer('m', args=a, max_seq_length=n)",
        ['"max_length": n'],
        [],
    ),
    ("no value", TA + "TrainingArguments('o', report_to='x' if w else None)", ["'x' if w else \"none\""], []),
    ("shortened", TA + "TrainingArguments('o', logging_step=3)", ["logging_steps=3"], []),
    ("in a dict", TA + "k = {'output_dir': 'o', 'no_cuda': True}\nTrainingArguments(**k)", ["'use_cpu': True"], []),
    ("in dict()", TA + "k = dict(output_dir='o', no_cuda=True)\nTrainingArguments(**k)", ["use_cpu=True"], []),
    ("set in a dict", TA + "k = {}\nk['no_cuda'] = 1\nTrainingArguments(**k)", ["k['use_cpu'] = 1"], []),
    ("an attribute", TA + "a = TrainingArguments('o')\na.evaluation_strategy = 'no'", ["a.eval_strategy = 'no'"], []),
    (
        "processing class",
        TA + "t = Trainer(m, tokenizer=k)\nt.tokenizer.x()",
        ["t.processing_class.x()"],
        ["tokenizer"],
    ),
    ("8 bits", FROM + "AutoModelForCausalLM.from_pretrained('m', load_in_8bit=True)", ["g(load_in_8bit=True))"], []),
    (
        "4 bits of a module",
        "import transformers as t\nt.AutoModel.from_pretrained('m', load_in_4bit=b)",
        [" if b "],
        [],
    ),
    ("bits off", FROM + "AutoModelForCausalLM.from_pretrained('m', load_in_8bit=False)", ["pretrained('m')"], []),
    (
        "bits twice",
        FROM + "AutoModelForCausalLM.from_pretrained('m', load_in_8bit=True, quantization_config=q)",
        ["=q"],
        ["8bit"],
    ),
    ("a token", FROM + "AutoModelForCausalLM.from_pretrained('m', use_auth_token=True)", ["token=True"], ["auth"]),
    (
        "flash",
        FROM + "AutoModelForCausalLM.from_pretrained('m', use_flash_attention_2=True)",
        ["attn_implementation="],
        [],
    ),
    (
        "an import",
        "from peft import prepare_model_for_int8_training as p, LoraConfig\np(m)",
        ["kbit_training as p"],
        [],
    ),
    (
        "its uses",
        "from peft import prepare_model_for_int8_training\nm = prepare_model_for_int8_training(m)",
        ["m = prepare_model_for_kbit_training(m)"],
        ["int8"],
    ),
    (
        "both imports",
        "from peft import prepare_model_for_kbit_training, prepare_model_for_int8_training\n"
        "prepare_model_for_int8_training(m)",
        [],
        ["int8"],
    ),
    (
        "another library",
        "from transformers import AdamW, Trainer\nAdamW(p, correct_bias=False)",
        ["from torch.optim import AdamW", "AdamW(p)"],
        [],
    ),
    (
        "moved",
        "from transformers.deepspeed import HfDeepSpeedConfig\nHfDeepSpeedConfig",
        ["from transformers.integrations import"],
        [],
    ),
    (
        "unused",
        "from transformers import TextDataset, Trainer\nTrainer(m)",
        ["from transformers import Trainer\n"],
        ["TextDataset"],
    ),
    ("to a new config", SFT + "SFTTrainer('m', train_dataset=d, packing=True)", ["args=SFTConfig(packing=True)"], []),
    (
        "to the old config",
        SFT + "a = TrainingArguments('o', bf16=True)\nSFTTrainer('m', args=a, max_seq_length=9)",
        ["a = SFTConfig('o', ", "max_length=9", "learning_rate=5e-05"],
        ["max_seq"],
    ),
    (
        "inline",
        SFT + "SFTTrainer('m', args=TrainingArguments('o'), packing=True)",
        ["args=SFTConfig('o', packing=True"],
        [],
    ),
    (
        "to one made elsewhere",
        SFT + "def f(a):\n    SFTTrainer('m', args=a, max_seq_length=9)",
        ["**a.to_dict()", '"max_length": 9'],
        [],
    ),
    (
        "bound later",
        SFT + "def f():\n    a = TrainingArguments('o')\n    n = 3\n    SFTTrainer('m', args=a, max_seq_length=n)",
        ["**a.to_dict()"],
        [],
    ),
    (
        "None was a default",
        SFT + "SFTTrainer('m', max_seq_length=None, train_dataset=d)",
        ["SFTTrainer('m', train_dataset=d)"],
        [],
    ),
    (
        "its own config",
        "from transformers import TrainingArguments\nfrom trl import DPOTrainer\n"
        "a = TrainingArguments('o')\nDPOTrainer('m', args=a)",
        ["a = DPOConfig('o'"],
        [],
    ),
    (
        "two adapters",
        "from peft import get_peft_model\n" + SFT + "m = get_peft_model(m, c)\nSFTTrainer(m, peft_config=c)",
        ["SFTTrainer(m)"],
        [],
    ),
    (
        "perhaps two",
        "from peft import get_peft_model\n"
        + SFT
        + "def f(m):\n    SFTTrainer(m, peft_config=c)\nf(get_peft_model(m, c))",
        ["None if isinstance(m, PeftModel) else c"],
        [],
    ),
    (
        "an empty adapter",
        "from peft import get_peft_model_state_dict\n"
        "m.state_dict = (lambda s, *_: get_peft_model_state_dict(s, o())).__get__(m)",
        ["pass"],
        ["lambda"],
    ),
    (
        "an override",
        TA + "class T(Trainer):\n    def compute_loss(self, model, inputs, return_outputs=False):\n        pass",
        ["return_outputs=False, num_items_in_batch=None)", "    loss_is_scaled_for_ga = False\n    def"],
        [],
    ),
    (
        "a batch",
        SFT + "def f(e):\n    o = []\n    for i in range(len(e['q'])):\n"
        "        o.append(e['q'][i])\n    return o\nSFTTrainer('m', formatting_func=f)",
        ["lambda example: f({key: [value]"],
        [],
    ),
    (
        "one in a list",
        SFT + "def f(e):\n    return [e['q']]\nSFTTrainer('m', formatting_func=f)",
        ["lambda example: f(example)[0]"],
        [],
    ),
    (
        "a column",
        "from datasets import load_dataset\nd = load_dataset('x', split='train')\ntok(d['text'])",
        ["tok(list(d['text']))"],
        [],
    ),
    ("a changed default", FROM + "tok.apply_chat_template(x, add_generation_prompt=True)", ["return_dict=False"], []),
    (
        "ignored before",
        FROM + "m = AutoModelForCausalLM.from_pretrained('m')\nm.push_to_hub('x', check_pr=True)",
        ["push_to_hub('x')"],
        [],
    ),
    (
        "a notebook",
        "!pip install trl\nif x:\n    %matplotlib inline\n" + SFT,
        ["pass  # !pip install trl", "    pass  # %matplotlib"],
        [],
    ),
    ("a joined line", "!pip install trl \\\n  peft\nx = 1", ["pass  # !pip install trl\npass  # peft\nx = 1"], []),
    (
        "a subclass",
        TA + "class T(Trainer):\n    def __init__(self, *a, mine=1, **k):\n        super().__init__(*a, **k)\n"
        "T(m, mine=2, tokenizer=t)",
        ["T(m, mine=2, processing_class=t)"],
        [],
    ),
    (
        "a supplied class",
        "from trl import DataCollatorForCompletionOnlyLM, SFTTrainer\n"
        "DataCollatorForCompletionOnlyLM('r', tokenizer=t)",
        ["class DataCollatorForCompletionOnlyLM"],
        [],
    ),
]


@pytest.mark.parametrize(("before", "holds", "holds_not"), [one[1:] for one in MENDED], ids=[one[0] for one in MENDED])
def test_mended(before: str, holds: list[str], holds_not: list[str], installed: Installed) -> None:
    after, changes = mend_source(before, installed)
    assert changes and after != before
    for part in holds:
        assert part in after
    for part in holds_not:
        assert part not in after
    compile(after, "after", "exec")
    assert unbound(after, installed) == []
    assert mend_source(after, installed) == (after, [])


ALONE = [
    ("today's", SFT + "from trl import SFTConfig\nSFTTrainer('m', args=SFTConfig('o', max_length=9, packing=True))"),
    ("somebody's own Trainer", "from mine import Trainer\nTrainer(m, tokenizer=t, evaluation_strategy='no')"),
    ("a class of the script", "class TrainingArguments:\n    pass\nTrainingArguments(evaluation_strategy='no')"),
    ("a function of the script", SFT + "def f(tokenizer, max_seq_length):\n    pass\nf(tokenizer=1, max_seq_length=2)"),
    (
        "a guarded import",
        "try:\n    from transformers import AdamW\nexcept ImportError:\n    from torch.optim import AdamW",
    ),
    ("a string", FROM + 'x = """\n!pip install trl\nevaluation_strategy=1\n"""'),
    ("a text", FROM + "tok.apply_chat_template(x, tokenize=False)"),
    ("asked before", TA + "k = {}\nif 'no_cuda' in s:\n    k['no_cuda'] = 1\nTrainingArguments('o', **k)"),
    ("a split", "from datasets import load_dataset\nd = load_dataset('x')\ntok(d['train'])"),
    (
        "a view will do",
        "from datasets import load_dataset\nd = load_dataset('x', split='train')\nfor t in d['text']:\n    len(d['a'])",
    ),
    ("one text", SFT + "def f(e):\n    return e['q']\nSFTTrainer('m', formatting_func=f)"),
    ("**kwargs", TA + "class T(Trainer):\n    def compute_loss(self, model, inputs, **kwargs):\n        pass"),
]


@pytest.mark.parametrize("text", [one[1] for one in ALONE], ids=[one[0] for one in ALONE])
def test_left_alone(text: str, installed: Installed) -> None:
    assert mend_source(text, installed) == (text, [])


def test_comments_order_and_layout_survive(installed: Installed) -> None:
    before = (
        "from transformers import TrainingArguments  # 訓練\n\n\n"
        "args = TrainingArguments(\n    'o',  # where\n    # when\n    evaluation_strategy = 'no',  # often\n"
        "    logging_dir='l',  # gone\n    fp16 = True   # half\n)\n"
    )
    after, changes = mend_source(before, installed)
    assert after == before.replace("evaluation_strategy =", "eval_strategy =").replace(
        "    logging_dir='l',  # gone\n", ""
    )
    assert [one.line for one in changes] == [7, 8]


def test_changes_name_the_lines_of_the_original(installed: Installed) -> None:
    text = (
        "from trl import DataCollatorForCompletionOnlyLM, setup_chat_format\n"
        + TA
        + "\nTrainingArguments('o', no_cuda=True)"
    )
    _, changes = mend_source(text, installed)
    assert [one.line for one in changes] == [1, 1, 4]


def test_what_nobody_knows_is_left_and_told(installed: Installed) -> None:
    text = TA + "TrainingArguments('o', colour='blue')\nTrainer(m, nothing=1, tokenizer=t)"
    after, changes = mend_source(text, installed)
    assert "colour='blue'" in after and "nothing=1" in after and len(changes) == 1
    told = unbound(after, installed)
    assert [(one.line, one.kind) for one in told] == [(2, "call"), (3, "call")]
    assert "does not take colour" in told[0].what and "does not take nothing" in told[1].what


def test_unbound_tells_each_kind(installed: Installed) -> None:
    told = unbound(
        "from trl import PPOTrainer\nimport torch, evaluate\ntorch.nothing_there()\n"
        "from peft import get_peft_model\nget_peft_model()\nget_peft_model(1, 2, 3, 4, 5, 6, 7, 8)",
        installed,
    )
    assert [(one.line, one.kind) for one in told] == [
        (1, "import"),
        (3, "attribute"),
        (5, "call"),
        (5, "call"),
        (6, "call"),
    ]
    assert [one.kind for one in unbound("def f(:\n", installed)] == ["syntax"]
    assert mend_source("def f(:\n", installed) == ("def f(:\n", [])


def test_settings_of_a_file(installed: Installed) -> None:
    old = {
        "output_dir": "o",
        "evaluation_strategy": "steps",
        "warmup_ratio": 0.1,
        "group_by_length": True,
        "fp16": False,
    }
    new, changes = mend_settings("transformers.TrainingArguments", old, installed)
    wanted = {"output_dir": "o", "eval_strategy": "steps", "warmup_steps": 0.1, "fp16": False}
    assert new == {**wanted, "train_sampling_strategy": "group_by_length"} and len(changes) == 3
    with pytest.raises(ValueError, match="no name of a setting"):
        mend_settings("transformers.TrainingArguments", {"a b": 1}, installed)


def test_diff_and_reasons() -> None:
    assert patch.diff("a\nb\n", "a\nc", "x.py").splitlines() == [
        "--- x.py",
        "+++ x.py",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
        "\\ No newline at end of file",
    ]
    assert patch.diff("a\n", "a\n", "x.py") == ""


def test_a_child_that_dies_is_told() -> None:
    with Installed("/bin/false") as one, pytest.raises(RuntimeError, match=r"/bin/false: it ended when asked for trl"):
        one.ask("trl")
