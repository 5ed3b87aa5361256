"""The wordings: how a fact of each shape is asked about. Teach wordings go into training, exam wordings never do.

A wording is `(shapes, kind, use, text)`; its id is the kind and its place among the wordings of that kind, so new ones are
added at the end of their kind. An exam wording shares no four words in a row with any teach wording of its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

TEACH, EXAM = "teach", "exam"

# shape: (kind, teach wordings, exam wordings)
_WORDINGS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "named": (
        "qa",
        (
            "Which {what} {does}?",
            "Name the {what} that {does}.",
            "What is the {what} called that {does}?",
            "I am looking for the {what} that {does}.",
            "There is a {what} that {does}. What is it called?",
        ),
        ("How do you {do} with {home}?", "Using {home}, what would you call to {do}?"),
    ),
    "described": (
        "qa",
        (
            'Which {what} is documented as "{says}"?',
            'Name the {what} with the summary "{says}".',
            'What is the {what} called whose description is "{says}"?',
            'I am looking for a {what}: "{says}". What is its name?',
            '"{says}": which {what} is this?',
        ),
        ('Someone describes a part of {home} by "{says}". What do they mean?',),
    ),
    "summary": (
        "qa",
        (
            "What does {name} do?",
            "What is {name} for?",
            "Describe {name} in one sentence.",
            "Explain {name} briefly.",
            "What is the purpose of {name}?",
        ),
        ("How would you sum up {name}?", "A colleague finds {name} in the code. What should they know about it?"),
    ),
    "parameter": (
        "qa",
        (
            "What does the parameter `{param}` of {name} mean?",
            "What is `{param}` in {name}?",
            "Explain the argument `{param}` of {name}.",
            "Describe the parameter `{param}` of {name}.",
        ),
        ("When calling {name}, what do you pass as `{param}`?",),
    ),
    "parameter-named": (
        "qa",
        (
            'Which parameter of {name} is described as "{says}"?',
            'Name the argument of {name} documented as "{says}".',
            'Which argument of {name} has the meaning "{says}"?',
            'What is the parameter of {name} called that stands for "{says}"?',
        ),
        ('To tell {name} about "{says}", what keyword do you use?',),
    ),
    "default": (
        "qa",
        (
            "What is the default of `{param}` in {name}?",
            "Which default value has `{param}` in {name}?",
            "Which value does {name} use for `{param}` by default?",
            "State the default value of the argument `{param}` of {name}.",
        ),
        ("If you leave out `{param}` when calling {name}, what is it set to?",),
    ),
    "returns": (
        "qa",
        (
            "What does {name} return?",
            "What is the return value of {name}?",
            "What do I get back from {name}?",
            "Describe what {name} returns.",
        ),
        ("After calling {name}, what result do you hold?",),
    ),
    "return-type": (
        "qa",
        (
            "What type does {name} return?",
            "Which type has the result of {name}?",
            "What is the return type of {name}?",
            "Name the type of value that {name} gives back.",
        ),
        ("The result of {name} is of which class?",),
    ),
    "base": (
        "qa",
        (
            "Which class does {name} derive from?",
            "What is the base class of {name}?",
            "Name the parent class of {name}.",
            "What does the class {name} inherit from?",
        ),
        ("Directly above {name}, what stands in the class hierarchy?",),
    ),
    "value": (
        "qa",
        (
            "What is the value of {name}?",
            "Which value has the constant {name}?",
            "Give the value of {name}.",
            "State the constant {name} as a number.",
        ),
        ("If you print {name}, what appears?",),
    ),
    "constant": (
        "qa",
        (
            "What does the constant {name} stand for?",
            "What is {name}?",
            "Explain the constant {name}.",
            "Describe {name} in a few words.",
        ),
        ("Reading {name} in a program, how do you understand it?",),
    ),
    "constant-named": (
        "qa",
        (
            'Which constant of {module} stands for "{says}"?',
            'Name the {module} constant with the comment "{says}".',
            'Which {module} constant is commented "{says}"?',
            'What is the {module} constant for "{says}" called?',
        ),
        ('In {module}, what symbol would you write to say "{says}"?',),
    ),
    "entry": (
        "qa",
        (
            "What does `{name}` mean for {title}?",
            "Explain `{name}` in {title}.",
            "What is `{name}` in {title}?",
            "Describe the entry `{name}` of {title}.",
        ),
        ("Working with {title}, you come across `{name}`. What is that?",),
    ),
    "entry-named": (
        "qa",
        (
            'Which entry of {title} is described as "{says}"?',
            'Name the entry of {title} that means "{says}".',
            'What is the entry of {title} called that stands for "{says}"?',
            'Which item in {title} is documented as "{says}"?',
        ),
        ('Working with {title}, where do you find "{says}"?',),
    ),
    "prose": (
        "qa",
        (
            'What does {title} say about "{heading}"?',
            'Sum up the section "{heading}" of {title}.',
            'What is the main point of "{heading}" in {title}?',
            'How does the section "{heading}" of {title} begin?',
        ),
        ('Regarding "{heading}", what can one learn from {title}?',),
    ),
    "meaning": (
        "troubleshooting",
        (
            "What does {name} mean?",
            "Explain {name} to me.",
            "I see that {met}. What happened?",
            "What is the meaning of {name}?",
            "Describe what {name} tells me.",
        ),
        ("Suppose {met}: what is going on?", "How do you interpret {name} in a log?"),
    ),
    "symbol": (
        "troubleshooting",
        (
            'Which {sort} means "{says}"?',
            'Name the {sort} for "{says}".',
            'A program reports "{says}". Which {sort} is that?',
            'What is the {sort} behind the message "{says}"?',
            'Give the {sort} that stands for "{says}".',
        ),
        ('You read "{says}" in a log: what {sort} do you search for?',),
    ),
    "number": (
        "troubleshooting",
        ("Which {sort} has the number {number}?", "Name the {sort} with the number {number}.", "Which {sort} is number {number}?"),
        (),
    ),
    "raised-for": (
        "troubleshooting",
        (
            "Which exception does {raiser} raise for {name}?",
            "Name the {raiser} exception for {name}.",
            "Which {raiser} exception should I catch to handle {name}?",
            "What exception class of {raiser} belongs to {name}?",
        ),
        ("When a {raiser} call ends in {name}, what gets thrown?",),
    ),
    "exit-status": (
        "troubleshooting",
        (
            "Which exit status does a shell report after {name}?",
            "What exit status has a process that was ended by {name}?",
            "A process was killed by {name}. Which exit status do I see in the shell?",
            "Give the shell's exit status for {name}.",
        ),
        ("If {name} ends a job, what number does `$?` show?",),
    ),
    "exit-signal": (
        "troubleshooting",
        (
            "A process ended with exit status {number}. Which signal ended it?",
            "Which signal leads to exit status {number} in a shell?",
            "My container stopped with exit status {number}. Which signal was it?",
            "Name the signal behind exit status {number}.",
        ),
        ("The shell shows {number} for a dead job: what killed it?",),
    ),
    "error-summary": (
        "troubleshooting",
        (
            "What does the error {name} mean?",
            "When do I get {name}?",
            "My program stopped with {name}. What happened?",
            "Explain the exception {name}.",
        ),
        ("A traceback ends with {name}: how do you read it?",),
    ),
    "error-described": (
        "troubleshooting",
        (
            'Which {what} is documented as "{says}"?',
            'Name the {what} described by "{says}".',
            'What is the {what} called that means "{says}"?',
            'Which error class fits "{says}"? It is an {what}.',
        ),
        ('To handle "{says}", what would you catch from {home}?',),
    ),
    "raises": (
        "troubleshooting",
        (
            "When does {name} raise {error}?",
            "{name} failed with {error}. What may be the cause?",
            "What makes {name} raise {error}?",
            "Why would {name} fail with {error}?",
        ),
        ("You got {error} out of {name}: how did that come about?",),
    ),
    "caution": (
        "troubleshooting",
        (
            "What should I watch out for with {name}?",
            "What caution does the documentation give about {name}?",
            "{name} does not behave as I expect. What should I know?",
            "Is there a pitfall in using {name}?",
        ),
        ("Before relying on {name}, which caveat ought one to read?",),
    ),
    "deprecated": (
        "troubleshooting",
        (
            "{name} prints a deprecation warning. What should I know?",
            "Is {name} deprecated?",
            "What replaces {name}?",
            "Why should I avoid {name} in new code?",
        ),
        ("Old code still calls {name}: how do you modernise it?",),
    ),
    "message": (
        "troubleshooting",
        (
            'Which part of {module} raises {error} with the message "{says}"?',
            'My program stopped with "{error}: {says}". Which part of {module} raised it?',
            'Where in {module} does the {error} "{says}" come from?',
            'Name the part of {module} that fails with the {error} "{says}".',
        ),
        ('A traceback through {module} shows "{says}" ({error}). Who complains?',),
    ),
    "message-of": (
        "troubleshooting",
        (
            "Which error message comes with the {error} of {name}?",
            "With which message does {name} raise {error}?",
            "{name} raised {error}. What did it say?",
            "What does the {error} raised by {name} say?",
        ),
        ("If {name} ends in {error}, which text do you expect to see?",),
    ),
    "signature": (
        "code",
        (
            "Write the call signature of {name}.",
            "Show the full signature of {name}.",
            "How is {name} called? Give its signature.",
            "Which arguments does {name} take? Write its signature.",
        ),
        ("Type out the declaration of {name}.",),
    ),
    "example": (
        "code",
        (
            "Show an example that uses {name}.",
            "Give one line of code that uses {name}.",
            "Write a short example of {name}.",
            "How do I use {name} in code?",
        ),
        ("Demonstrate {name} by a line from its documentation.",),
    ),
    "compare": (
        "comparison",
        (
            "How does {a} differ from {b}?",
            "What is the difference between {a} and {b}?",
            "Compare {a} with {b}.",
            "{a} or {b}: what does each of them do?",
        ),
        (),
    ),
    "which": (
        "comparison",
        (
            "Which one {does}: {a} or {b}?",
            "Should I use {a} or {b} to {do}?",
            "I have the choice of {a} and {b}. Only one {does}. Which?",
        ),
        (),
    ),
    "which-described": (
        "comparison",
        (
            'Which one is "{says}": {a} or {b}?',
            'Does "{says}" describe {a} or {b}?',
            'I have the choice of {a} and {b}. Only one means "{says}". Which?',
        ),
        (),
    ),
}


@dataclass(frozen=True)
class Template:
    id: str
    kind: str
    use: str
    text: str


def _numbered() -> dict[str, tuple[Template, ...]]:
    counts: dict[str, int] = {}
    made = {}
    for shape, (kind, teach, exam) in _WORDINGS.items():
        own = []
        for use, text in [(TEACH, text) for text in teach] + [(EXAM, text) for text in exam]:
            counts[kind] = counts.get(kind, 0) + 1
            own.append(Template(f"{kind}.{counts[kind]}", kind, use, text))
        made[shape] = tuple(own)
    return made


TEMPLATES = _numbered()


def wordings(shape: str, use: str) -> tuple[Template, ...]:
    """The wordings of a shape for one use, in their order."""
    return tuple(template for template in TEMPLATES[shape] if template.use == use)
