"""How claims are worded: patterns for what a model may say, wider than what our writer says.

Patterns are tried in order and a match is blanked out before the next is tried, so the special
("no progress") stands before the general ("progress"). Text is lower-case.
"""

from __future__ import annotations

import re

_NOT = r"(?:not|n't|never|no longer)(?: yet| currently| actually| really| even)?"
_IS = r"(?:is|was|are|were|stands|lies|sits|hovers|remains|stays|looks|seems)"
_DEGREE = (
    r"(?:(?:now|fully|finally|successfully|completely|still|quite|very|rather|already"
    r"|currently|yet|just|only|about|so) )*"
)
_HOLDING = r"(?:hold(?:s|ing)?|held|grasp(?:s|ed|ing)?|gripp(?:ed|ing)|grips?|clutch(?:es|ing)?)"
_TOUCHING = r"(?:touch(?:es|ed|ing)?|contact(?:s|ing)?)"

#: The gripper under any of its names.
GRIPPER = re.compile(r"\b(?:gripper|hand|arm|robot|claw|fingers?|effector)\b")
SINCE_START = re.compile(
    r"\b(?:since|from|compared (?:with|to)) the (?:very )?(?:start|beginning|first frame"
    r"|first image)"
)

#: Announces what should happen next; the rest of the sentence is the claim.
NEXT = re.compile(
    r"(?:\bnext(?! to (?:the|it|its)\b)|^\W*then\b|^\W*(?=(?:move|reach|approach|grasp"
    r"|press|push|pull) (?:the|it|to)\b)"
    r"|\bnow (?=\w+ (?:it|the)\b)|\bwhat remains"
    r"|\bremains to"
    r"|\b(?:must|should|has to|have to|needs? to|ought to)(?: now| still"
    r"| then)?)\b(?P<rest>[^.;!]*)"
)
_REST_OF = r"(?P<rest>[^.;!]*)"
#: A sentence that says that nothing is left to do.
HOLD = re.compile(
    r"\b(?:hold(?:ing)? still|stay (?:there|still|put)|nothing (?:more |else )?(?:remains|is left)"
    r"|nothing (?:more|else|left) to do|no further (?:action|motion|move))\b" + _REST_OF
)
#: What the rest after NEXT asks for.
NEXT_KINDS = (
    ("hold", r"\bhold(?:ing)? (?:still|position|there)|\bstay|\bstop|\bnothing|\bwait|\brest\b"),
    ("hold", r"\bbe done|\bremain (?:there|still)|\bdo no(?:thing|t)"),
    ("grasp", r"\bgrasp|\bgrip (?:the|it)|\bgrab|\bclose (?:the|its) (?:fingers|gripper)|\bpick"),
    ("grasp", r"\btake hold|\bsqueeze"),
    ("reach", r"\breach|\bapproach|\btouch|\bmake contact|\bgo (?:to|back to|toward)|\bget to"),
    ("reach", r"\bmove (?:the (?:gripper|hand|arm) )?(?:closer |nearer |back |down |over )*to\b"),
    (
        "reach",
        r"\bmove (?:the (?:gripper|hand|arm) )?(?:closer|nearer|toward)|\bcome (?:closer|near)",
    ),
    (
        "move",
        r"\b(?:press|push|pull|slide|turn|rotate|lift|lower|sweep|move|carry|bring|raise|place|open"
        r"|close|insert|put|drag|keep|continue|drive|shove|swing|take)(?:ing)?\b",
    ),
)

VERDICTS = (
    ("neutral", r"\bno (?:real |visible |further )?progress|\bwithout progress"),
    ("neutral", r"\bno change|\bchanges? nothing|\bnothing (?:has )?changed|\bmakes no difference"),
    ("neutral", rf"\b(?:does|did|do|has|is) ?{_NOT} (?:help|change|advance|progress)\w*"),
    (
        "hurts",
        r"\bhurts?\b|\bset ?back\b|\b(?:sets?|moves?) (?:the \w+|it|us"
        r"|things) back(?:ward)?\b|\bsteps? back(?:ward)?",
    ),
    (
        "hurts",
        r"\bundo(?:es|ing)?\b|\bregress\w*|\bworsens?\b|\bmakes? (?:it|things|matters) worse",
    ),
    ("hurts", r"\blos(?:es|t|ing) (?:ground|progress)|\bbad for the task"),
    (
        "helps",
        r"\bhelp(?:s|ed)?\b|\badvance[sd]?\b|\bstep forward|\bthis is (?:good|real"
        r"|clear)?\s?progress",
    ),
    (
        "helps",
        r"\b(?:good|some|clear|makes?|made|making|steady) progress|\bprogress (?:was|is|has)",
    ),
    ("helps", r"\bbrings? the task forward|\bmoves? the task forward|\bgood for the task"),
)
_START = r"(?:the |its )?(?:start|beginning)"
_TASK_DONE = r"(?:complete[d]?|done|finished|achieved|accomplished|solved|fulfilled)"
STAGES = (
    ("worse", rf"\bworse (?:off )?than (?:it was )?(?:at|in|before)? ?{_START}"),
    ("worse", rf"\bfurther from (?:done|the goal) than (?:at )?{_START}|\bbehind where it started"),
    ("not_started", rf"{_NOT} (?:been )?(?:started|begun)|\byet to (?:start|begin)"),
    (
        "not_started",
        rf"\bnothing (?:is |has been |was )?(?:yet )?{_TASK_DONE}|\bnone of it is done",
    ),
    (
        "incomplete",
        rf"{_NOT} (?:been )?(?:fully |quite |entirely )?{_TASK_DONE}|\bincomplete|\bunfinished",
    ),
    ("nearly", rf"\b(?:nearly|almost|just about|close to being) (?:fully )?(?:{_TASK_DONE}|there)"),
    ("mostly", rf"\b(?:mostly|largely|for the most part) {_TASK_DONE}"),
    ("mostly", rf"\bmost (?:of (?:it|the \w+) )?is {_TASK_DONE}|\bmore than half"),
    (
        "half",
        rf"\bhalf(?: of (?:it|the \w+))?(?: is| was|-?way)?(?: {_TASK_DONE}| there| through)?\b",
    ),
    ("partly", rf"\b(?:partly|partially|slightly|a little|somewhat) {_TASK_DONE}"),
    (
        "partly",
        r"\b(?:a )?(?:small|first|little) (?:part|bit|share"
        r"|portion) (?:of \w+(?: \w+)? )?is (?:done|finished)",
    ),
    (
        "complete",
        rf"\b(?:task|job|goal|work|everything|all|it) (?:is|was|has been) {_DEGREE}{_TASK_DONE}",
    ),
    (
        "complete",
        rf"^\W*(?:now )?(?:fully )?{_TASK_DONE}\W*$|\b(?:has|have) succeeded|\bis a success",
    ),
)

EVENTS = (
    (
        "released",
        r"\blets? (?:(?:it|the \w+(?: \w+)?) )?go\b|\bdropp?(?:ed|s)\b|\breleas(?:ed|es)"
        r"|\blo(?:st|ses) (?:its|the) grip",
    ),
    (
        "left",
        r"\bstop(?:s|ped) touching|\blo(?:st|ses) (?:contact|touch)|\bbroke(?:n)? contact"
        r"|\bno longer touch\w*",
    ),
    (
        "grasped",
        r"\btook hold|\bgot (?:a )?(?:grip|hold)|\bhas taken hold|\bjust (?:grasped|gripped)",
    ),
    ("grasped", r"\bpicked (?:it|the \w+(?: \w+)?) up|\bpicked up"),
    (
        "touched",
        r"\b(?:made|makes|comes? into|came into|established|first) contact|\bjust (?:touched"
        r"|reached contact)",
    ),
    ("touched", r"\bcame in contact"),
)
HOLDS = (
    ("no", rf"\bwithout (?:\w+ )?{_HOLDING}(?: it| the \w+(?: \w+)?)?|\bholds? nothing"),
    ("no", rf"{_NOT} (?:being )?{_HOLDING}|\b(?:gripper|hand) is empty|\bempty-?handed"),
    ("yes", rf"\b{_HOLDING}\b(?! (?:still|position))|\bin (?:its|the) (?:grip|grasp|hand)\b"),
)
TOUCHES = (
    ("no", rf"\bwithout (?:any |yet )?{_TOUCHING}|\bno contact|\buntouched|\bout of contact"),
    ("no", rf"{_NOT} (?:in (?:contact|touch)|{_TOUCHING}|reached contact)"),
    ("yes", rf"\bin contact|\b{_TOUCHING}\b|\bpress(?:es|ing)? against|\bagainst the\b"),
)
DISTANCES = (
    ("apart", rf"{_NOT} (?:near(?:by)?|close|at)\b"),
    (
        "near",
        r"\b(?:not far|no longer far) (?:off|from|away)|\bnear(?:by)?\b|\bclose(?: to| by)\b",
    ),
    (
        "some_way",
        r"\b(?:some|a little|a short|a fair) (?:way|distance)|\ba (?:little )?way (?:off|from)",
    ),
    ("some_way", r"\bmoderate(?:ly)? (?:\w+ )?(?:distance|way|far)|\bhalfway to the"),
    ("far", r"(?<!so )\bfar(?: away| off)?(?: from)?\b|\b(?:a )?long (?:way|distance)|\bdistant\b"),
    ("at", rf"\b{_IS} {_DEGREE}(?:right |directly )?at (?:the|its|it)\b"),
    ("at", r"\bright (?:at|beside|next to|by|over)\b|\bnext to (?:the|it)\b|\bbeside (?:the|it)\b"),
)
_BEFORE = r"(?:\b(?:to|on|off to|toward) (?:its|the|his) |\b)"
SIDES = (
    ("left", rf"{_BEFORE}left(?:[- ]hand side| side)?\b"),
    ("right", r"\b(?:to|on|off to) (?:its|the) right(?: side)?\b|\bright of (?:it|the)\b"),
    ("ahead", r"\bahead\b|\bin front\b"),
    ("behind", r"\bbehind\b|\b(?:further|farther) back\b"),
    ("below", r"\bbelow\b|\bunder(?:neath)?\b|\bbeneath\b|\blower down\b"),
    ("above", r"\babove\b|\bhigher(?: up| than it)?\b|\bover it\b"),
)

HEIGHTS = (
    ("lifted", r"\b(?:lifted|rose|raised|risen|went up|goes up|moved up(?:ward)?s?|rises)\b"),
    (
        "lowered",
        r"\b(?:lowered|sank|sunk|fell|fallen|falls|went down|goes down|moved down(?:ward)?s?"
        r"|sinks)\b",
    ),
)
_MOVE = (
    r"(?:(?:has |have )?mov(?:ed|es|ing)|(?:has |have )?come|came|comes|got|gets|went|goes"
    r"|drew|slid|slides"
    r"|turned|rotated|shifted"
    r"|travell?ed|swung|rolled|was pushed|was pulled|was moved|is brought|was brought"
    r"|carried it|moved it|brought it|advanced)(?! no| not)"
)
_SELDOM = r"(?:hardly|barely|scarcely|almost not)"
#: Who a part of a sentence is about: a noun with an article, or a bare one before a verb.
SUBJECT = re.compile(
    r"^\W*(?:(?:now|so|also|again|meanwhile|here|since|that) )*(?:(?:the|its"
    r"|a) (?P<named>\w+(?: \w+)?)"
    rf"|(?!it |they |this |which |we |he |not |far )(?P<bare>\w+(?: \w+)?) (?={_MOVE}\b|is\b|was\b"
    r"|has\b|did\b|stay|remain|rose\b|sank\b|fell\b|hardly\b|barely\b))"
)
#: "did not move" and its kin, of the gripper or of the object as the subject says.
UNMOVED = re.compile(
    rf"{_NOT} (?:been )?mov(?:e|ed|ing)\b|{_NOT} budged?\b|\b{_SELDOM} mov(?:ed|es|ing)\b"
    r"|\b(?:stay(?:ed|s)|remain(?:ed|s)|stood|is|was|kept) (?:still(?=\W*$)|put|where (?:it"
    r"|they) (?:was|is)"
    r"|in place|motionless|unmoved)\b|\bunmoved\b"
)
KEPT = re.compile(
    rf"\bkept its distance|\bkeeps its distance|\bsame distance|\bas far (?:off|away)|\b{_SELDOM}"
    rf" (?:got|came|gets|comes) (?:any )?(?:closer|nearer)|distance (?:is "
    rf"|has )?(?:{_SELDOM} chang\w+"
    r"|unchanged|did not change|stayed the same)"
)
ASIDE = re.compile(
    rf"\b{_MOVE} but (?:not?|not any) (?:nearer|closer|toward)(?: (?:to )?(?:its|the) \w+)?"
    r"|\b(?:shifted|moved|pushed|slid) (?:only )?(?:aside|sideways)|\bwithout nearing its \w+"
    r"|\b(?:moved|shifted) without (?:getting|coming) (?:any )?(?:nearer|closer)"
)
NEARER = re.compile(
    rf"\b{_MOVE} (?:\w+ )?(?:closer|nearer|towards?)\b|\b(?:has |is )?approach(?:ed|es|ing)\b"
    r"|\bneared\b|\b(?:opened|closed|pressed|turned) (?:\w+ ){0,2}(?:more|further)\b"
    r"|\bis (?:now )?(?:closer|nearer)\b|\bclosed in\b"
)
FARTHER = re.compile(
    rf"\b{_MOVE} (?:\w+ )?(?:away|back|off|farther|further)\b|\bback(?:ed|s) (?:off|away)\b"
    r"|\b(?:retreat|withdrew|retract)(?:ed|s)?\b|\bis (?:now )?(?:farther|further)\b"
    r"|\bpulled away\b"
    r"|\b(?:the wrong|the opposite) (?:direction|way)\b"
)


def compiled(table: tuple[tuple[str, str], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the table with its patterns compiled, in the same order."""
    return tuple((value, re.compile(pattern)) for value, pattern in table)
