"""Define every controlled vocabulary: its terms, each with one line of meaning."""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self


class Vocabulary(StrEnum):
    """A closed list of terms, each with one line of meaning."""

    meaning: str

    def __new__(cls, term: str, meaning: str) -> Self:
        """Make the term the value and keep its meaning beside it."""
        member = str.__new__(cls, term)
        member._value_ = term
        member.meaning = meaning
        return member


# Articles


class ArticleKind(Vocabulary):
    """What sort of text is this? A post or a broadcast has no headline of its own."""

    ARTICLE = "article", "A report, comment or other piece of a publication."
    POST = "post", "A message on a social network or in a forum."
    BROADCAST = "broadcast", "What was said in a programme of radio, television or a podcast."
    TRANSCRIPT = "transcript", "The words of a speech, interview or hearing, written down."
    PRESS_RELEASE = "press_release", "A statement that its sender issued to the press."
    DOCUMENT = "document", "A report, filing, letter or other document that was made public."
    PICTURE = "picture", "A photograph, video or graphic; its text is the words in or beside it."
    UNSPECIFIED = "unspecified", "Not said."


class CreditRole(Vocabulary):
    """What does the article credit this source for? A credit is for the article as a whole."""

    WIRE = "wire", "An agency whose text the article prints or builds on."
    VIA = "via", "The publication through which the text came."
    HAT_TIP = "hat_tip", "The publication or the person that found the story first."
    PHOTO = "photo", "Who made or supplied the pictures."
    TRANSLATION = "translation", "Who translated the text."
    OTHER = "other", "Another contribution, as printed."


class ArticleStatus(Vocabulary):
    """May this article be used? This says how far its publisher or the desk stands behind it."""

    USABLE = "usable", "May be used and cited as it stands."
    WITHHELD = "withheld", "Held back for now, for example for legal or editorial review."
    RETRACTED = "retracted", "Withdrawn by its publisher, who no longer stands behind it."
    TAKEN_DOWN = "taken_down", "Removed from publication, for example after a legal demand."


class ZoneKind(Vocabulary):
    """Which part of the article's text is this? Parts differ in prominence and authorship."""

    HEADLINE = "headline", "The title above the article."
    STANDFIRST = "standfirst", "The summary between headline and body; also called deck or dek."
    BODY = "body", "The running text of the article."
    QUOTE_BLOCK = "quote_block", "A quotation set apart from the running text."
    CAPTION = "caption", "The words beside a picture, video or graphic, its credit included."
    TABLE = "table", "Text in rows and columns."
    BOILERPLATE = (
        "boilerplate",
        "Standing text that is not reporting, such as promotion or appeals.",
    )
    FOOTER = "footer", "Lines after the body, such as credits, contacts and copyright."


class CorrectionKind(Vocabulary):
    """What kind of notice did the publisher attach to the article? An update admits no error."""

    CORRECTION = "correction", "Admits a factual error and puts it right."
    CLARIFICATION = "clarification", "Makes wording clearer that was not wrong but could mislead."
    EDITORS_NOTE = "editors_note", "Tells readers about the article's sourcing, ethics or context."
    UPDATE = "update", "Adds later developments; admits no error."
    RETRACTION = "retraction", "Withdraws the article, or a stated part of it, altogether."


class CorrectionEffect(Vocabulary):
    """What did the correction do to the claims that it names? This tells what to check again."""

    TEXT_CHANGED = "text_changed", "The wording of the claim was changed."
    FIGURE_CHANGED = "figure_changed", "A number, date or amount in the claim was changed."
    ATTRIBUTION_CHANGED = "attribution_changed", "The claim is now credited to another source."
    REMOVED = "removed", "The claim is no longer in the article."
    ADDED = "added", "The claim was put into the article by the correction."
    UNAFFECTED = "unaffected", "The claim was checked against the correction and stays as it was."


class ArticleRelationKind(Vocabulary):
    """How does this article relate to the other? Copies and rewrites are no independent reports."""

    SYNDICATED_COPY_OF = (
        "syndicated_copy_of",
        "Prints the text of the other with no real change, such as a text from an agency.",
    )
    REWRITE_OF = "rewrite_of", "Tells the other in new words, without reporting of its own."
    TRANSLATION_OF = "translation_of", "Gives the other's text in another language."
    FOLLOW_UP_TO = "follow_up_to", "Reports later developments of the story told in the other."
    REPLACES = (
        "replaces",
        "Was published in place of the other, such as a newer version of agency copy.",
    )
    REPLY_TO = "reply_to", "Is a post that answers the other."
    QUOTES = "quotes", "Is a post that shows the other within it, with words of its own."
    REPOSTS = "reposts", "Is a post that passes the other on, without words of its own."


# Sources


class SourceKind(Vocabulary):
    """What is the source? Whether it is well identified is another question."""

    PERSON = "person", "One human being, named or not."
    ORGANISATION = "organisation", "A company, party, NGO, agency or other body outside government."
    GOVERNMENT_BODY = (
        "government_body",
        "A ministry, agency, court, parliament or other organ of a state.",
    )
    STATE = "state", "A country speaking as a whole, often under its capital's name."
    ARMED_FORCE = "armed_force", "An army, a unit or its troops, of a state or not."
    GROUP = "group", "A definite set of sources, such as allies or signatories, not all named."
    CLASS = "class", 'People of a sort, with no definite members: "analysts", "the West".'
    PUBLICATION = "publication", "A newspaper, agency, broadcaster or site that publishes articles."
    DOCUMENT = "document", "A report, letter, filing, written statement or other text."
    JOINT_STATEMENT = "joint_statement", "One text issued by several sources together."
    BRIEFING = "briefing", "An occasion on which someone informs an audience, open or closed."
    MEDIA_ITEM = "media_item", "A picture, a video or a sound recording."
    PLATFORM = "platform", "A service on which others publish, such as a social network."
    EVENT = "event", "An occasion at which words were said, such as a summit, hearing or rally."
    UNKNOWN = "unknown", "The printed text does not say what the source is."


class Identification(Vocabulary):
    """How well does the printed text identify the source? What it is, is another question."""

    NAMED = "named", "Given by name."
    DESCRIBED = "described", 'Given by description without a name: "a US official".'
    ANONYMOUS = "anonymous", "The name is withheld or unknown; the record must not have a name."
    COLLECTIVE = "collective", "Given as several together, without telling the members apart."
    IMPLICIT = "implicit", 'Not mentioned, but understood: "amid alarm" implies who is alarmed.'


class NameKind(Vocabulary):
    """What kind of name is this? A source is found by all of its names."""

    OFFICIAL = "official", "The full formal name."
    ALIAS = "alias", "Another name in use, such as a pseudonym, call sign or user name."
    METONYM = "metonym", 'A place or thing that stands for the source: "the Pentagon".'
    SHORT = "short", "A shortened form, such as a surname, an abbreviation or initials."
    TRANSLITERATION = "transliteration", "The name carried over into another script by its sound."
    NATIVE_SCRIPT = "native_script", "The name in the script of its own language."
    FORMER = "former", "A name that was used in the past."


class MemberRole(Vocabulary):
    """What is the member to the source that lists it? Groups, texts and bodies have members."""

    MEMBER = "member", "Belongs to the group."
    SIGNATORY = "signatory", "Signed the statement or document."
    AUTHOR = "author", "Wrote or made it."
    PART_OF = "part_of", "Is a component of it, such as a chapter of a report."


class SourceRelationKind(Vocabulary):
    """How does this source relate to the other? Read "this source … the other source"."""

    POSSIBLY_SAME_AS = "possibly_same_as", "May be the same person, body or thing; symmetric."
    DISTINCT_FROM = (
        "distinct_from",
        "Is certainly not the same, even if the two look alike; symmetric.",
    )
    SUCCESSOR_OF = "successor_of", "Took over from the other, such as a renamed ministry."
    ACCOUNT_OF = "account_of", "Is an account on a platform that belongs to the other."
    UNIT_OF = "unit_of", "Is a unit of the other, such as a brigade of an army."


class Confidentiality(Vocabulary):
    """Who may see this source? Source protection, apart from how the article identifies it."""

    PUBLIC = "public", "May be seen by every reader."
    INTERNAL = "internal", "For the newsroom only; never published."
    RESTRICTED = "restricted", "Only for those permitted to see confidential sources."
    PROTECTED = (
        "protected",
        "As restricted, and the source was promised protection because exposure could harm it.",
    )


# Claims


class ClaimKind(Vocabulary):
    """What kind of thing is claimed? This decides how the claim could be checked."""

    EVENT = "event", "Something happened, happens or is being done."
    STATE_OF_AFFAIRS = "state_of_affairs", "Something is, or was, the case over a time."
    QUANTITY = "quantity", "A figure or amount, exact or vague."
    IDENTITY = "identity", "Who or what someone or something is."
    CAUSAL = "causal", "One thing brings about, or prevents, another."
    ACCUSATION = "accusation", "Someone did wrong."
    RESPONSIBILITY = (
        "responsibility",
        "Someone is responsible for an act, whether they admit it or not.",
    )
    EVALUATION = "evaluation", "A judgement of value, which can't be checked as a fact."
    POSITION = "position", "What someone supports, opposes or condemns."
    PREDICTION = "prediction", "What will or may happen."
    INTENTION = "intention", "What someone plans or promises to do."
    MEDIA_CONTENT = "media_content", "What a picture, video or recording shows."
    SPEECH_REPORT = "speech_report", "That something was said or communicated, whoever said it."
    INVESTIGATION = "investigation", "That a matter is being looked into; not what was found."


class SpeechAct(Vocabulary):
    """What did the source do by saying it? The class of the reporting verb, not a judgement."""

    STATE = "state", "Neutral reporting: said, told, stated, added."
    CLAIM = "claim", "Says so where the article does not vouch for it: claimed, alleged."
    ESTIMATE = "estimate", "Gives a figure or judgement as its best reckoning: estimated, put at."
    SUGGEST = "suggest", "Puts forward tentatively: suggested, indicated."
    ACCUSE = "accuse", "Charges someone with wrongdoing: accused, charged."
    BLAME = "blame", "Holds someone to be the cause of something bad: blamed, faulted."
    CONDEMN = "condemn", "Voices strong disapproval: condemned, denounced, deplored."
    ANNOUNCE = "announce", "Makes its own decision or news public: announced, declared."
    WARN = "warn", "Tells of a danger ahead: warned, cautioned, threatened."
    PREDICT = "predict", "Says what will happen: predicted, forecast, expected."
    CITE = "cite", "Passes on what another source says: cited, quoted, referred to."
    CONFIRM = "confirm", "Says that something reported before is so: confirmed, acknowledged."
    DESCRIBE = "describe", "Characterises or recounts: described, called, depicted."
    CALL_FOR = "call_for", "Asks that something be done: called for, urged, demanded."
    IMPLY = "imply", "Gives to understand without saying it: implied, hinted."


class Certainty(Vocabulary):
    """How sure does the claimant claim to be? It says nothing about the truth."""

    CERTAIN = "certain", "Put forward as fact, without a hedge."
    PROBABLE = "probable", 'Hedged as likely: "probably", "is believed to", an estimate.'
    POSSIBLE = "possible", 'Hedged as no more than possible: "may", "could".'
    UNSPECIFIED = "unspecified", "The printed text does not say how sure the claimant is."


class Polarity(Vocabulary):
    """Does the claim say that something is so, or that it is not so? Its wording, not its truth."""

    POSITIVE = "positive", "Claims that it is so."
    NEGATIVE = "negative", "Claims that it is not so; an answer to a claim is a denial instead."


class Embedding(Vocabulary):
    """Is the claim made outright, or inside another claim? The other claim is its parent."""

    ASSERTED = "asserted", "Put forward in its own right; needs no parent."
    EMBEDDED = (
        "embedded",
        'Content of the parent\'s own statement, as the export in "condemned the export of arms".',
    )
    PRESUPPOSED = (
        "presupposed",
        "Taken for granted: the parent makes sense only if this is so, even if it is negated.",
    )


class AttributionRole(Vocabulary):
    """What part does this source play in the chain to the origin? A vehicle plays none."""

    CLAIMANT = "claimant", "Is credited with the claim at this position."
    CO_CLAIMANT = "co_claimant", "Makes the claim jointly with others at the same position."
    CITED = "cited", "Is the source of those who are nearer to the reader."
    SPOKESPERSON = "spokesperson", "Speaks officially for the source that is the claimant."
    ON_BEHALF_OF = "on_behalf_of", "Is the source for whom another one speaks."
    AUTHOR_VOICE = "author_voice", "The article says it itself and credits nobody."


class Resolution(Vocabulary):
    """Does the printed attribution mean this source? Doubt is recorded, not hidden."""

    CERTAIN = "certain", "The text leaves no doubt who is meant."
    PROBABLE = "probable", "One reading is clearly likelier than any other."
    AMBIGUOUS = "ambiguous", "Two or more readings are possible; the given source is one of them."
    UNRESOLVED = (
        "unresolved",
        'The text does not say who is credited: "were said to have suffered".',
    )


class GroundRules(Vocabulary):
    """On what terms did the source speak to the journalist? Newsrooms define them differently."""

    ON_RECORD = "on_record", "May be quoted and named."
    BACKGROUND = "background", "May be quoted under an agreed description, but not named."
    DEEP_BACKGROUND = "deep_background", "May be used, but not attributed to any source at all."
    OFF_RECORD = "off_record", "May not be published."
    UNKNOWN = "unknown", "The terms are not known."


class QuoteType(Vocabulary):
    """In what form does the article print the words? This tells whose wording it is."""

    DIRECT = "direct", "Word for word, in quotation marks or set as a quotation."
    INDIRECT = "indirect", 'Paraphrased and credited: "she said that".'
    MIXED = "mixed", "Paraphrase with some of the source's own words in quotation marks."
    SCARE_QUOTE = "scare_quote", "A word or two in quotation marks, chiefly to mark distance."
    NARRATED = "narrated", "Told in the article's own narration, with no reporting clause."


class Stance(Vocabulary):
    """How far does the article itself stand behind the claim? Not how sure the claimant is."""

    NEUTRAL = "neutral", "Reports the claim and takes no side."
    DISTANCING = "distancing", 'Marks that it does not vouch for the claim: "allegedly".'
    ENDORSING = "endorsing", 'Treats the claim as established: "pointed out", "revealed".'


class SpanRole(Vocabulary):
    """What do these printed words do in the report? Each span has one role."""

    CONTENT = "content", "Say what is claimed; several make a discontinuous quotation."
    SOURCE = "source", "Name or describe who is credited."
    CUE = "cue", 'Signal the attribution: "claimed", "according to".'
    QUANTITY = "quantity", "Give a figure or amount."
    DATE = "date", "Say when."
    PLACE = "place", "Say where."
    TARGET = "target", "Name what or whom the statement is aimed at."


class Anchor(Vocabulary):
    """Are the words still in the text at the given offsets? The server sets this."""

    EXACT = "exact", "The words are at these offsets."
    RELOCATED = (
        "relocated",
        "The text changed; the same words with their context are at one other place only.",
    )
    AMBIGUOUS = "ambiguous", "The text changed; the words are now at several places."
    ORPHANED = "orphaned", "The text changed; the words are no longer found in their context."
    UNVERIFIED = "unverified", "No article text is stored to check the words against."


class Metric(Vocabulary):
    """What does the figure count or measure? These are starter terms; other metrics are allowed."""

    KILLED = "killed", "People killed."
    INJURED = "injured", "People wounded or hurt who are not counted as dead."
    KILLED_OR_WOUNDED = "killed_or_wounded", "Dead and wounded in one figure, said to be both."
    CASUALTIES = (
        "casualties",
        "Called so in print: usually dead and wounded, sometimes also captured or missing.",
    )
    LOSSES = "losses", "Called so in print: people, equipment or both, without telling them apart."
    MISSING = "missing", "People whose whereabouts are unknown."
    CAPTURED = "captured", "People taken prisoner."
    DISPLACED = "displaced", "People driven from their homes."
    DEPLOYED = "deployed", "People sent into service or action, such as troops or police."
    ARRESTED = "arrested", "People taken into custody by an authority."
    SHARE_PERCENT = "share_percent", "A part of a whole, in per cent: 12 is 12%."
    MONEY = "money", "An amount of money; the unit gives the currency."


class Qualifier(Vocabulary):
    """How do the printed words limit the figure? This decides which numbers it has."""

    EXACT = "exact", "Exactly this number: `value`."
    AT_LEAST = "at_least", "This number or more: `lower`, included."
    MORE_THAN = "more_than", "Above this number: `lower`, excluded."
    AT_MOST = "at_most", 'A ceiling that may be reached, "up to": `upper`, included.'
    FEWER_THAN = "fewer_than", "Below this number, perhaps far below: `upper`, excluded."
    APPROXIMATELY = "approximately", "Near this number, on either side: `value`."
    APPROACHING = "approaching", "Said to be close below this number and nearing it: `upper`."
    BETWEEN = "between", "Within a range: `lower` and `upper`."
    VAGUE = "vague", 'Words without a number, such as "heavy" or "several hundreds": `term`.'


class PartyRole(Vocabulary):
    """What part does this party play in what is claimed? Claimants are attributions instead."""

    SUBJECT = "subject", "Whom or what the claim says something about."
    ACTOR = "actor", "Who is said to do or have done it."
    TARGET = "target", "At whom the act or the words are directed."
    VICTIM = "victim", "Who is said to suffer harm."
    BENEFICIARY = "beneficiary", "Who is said to gain by it."
    TOPIC = "topic", "What is at issue, without acting or being acted on."
    ACCUSED = "accused", "Who is said to have done wrong; not a finding that they did."


class PlaceRole(Vocabulary):
    """What does the place have to do with the claim? Words and events can have different places."""

    EVENT = "event", "Where it is said to happen or have happened."
    ORIGIN = "origin", "Where a movement or a transfer starts."
    DESTINATION = "destination", "Where a movement or a transfer leads."
    STATEMENT = "statement", "Where the claim was made."
    SCOPE = "scope", "The area for which the claim is meant to hold, or which it concerns."


class PlacePrecision(Vocabulary):
    """How exactly do the coordinates say where it is? Many reports name only a district."""

    EXACT = "exact", "The place itself."
    NEAR = "near", "Near the place, or in its surroundings."
    DISTRICT = (
        "district",
        "Somewhere in the district; the point stands for all of it.",
    )
    PROVINCE = (
        "province",
        "Somewhere in the province; the point stands for all of it.",
    )
    COUNTRY = "country", "Somewhere in the country; the point stands for all of it."
    REGION = (
        "region",
        "Somewhere in a region that is no administrative unit, such as a sea.",
    )
    UNKNOWN = "unknown", "Not known."


class RelationKind(Vocabulary):
    """How does this claim relate to the other? Read "this claim … the other claim"."""

    RESTATES = "restates", "Says the same again, in other words or at another place."
    SPECIFIES = "specifies", "Says more exactly what the other says loosely."
    GENERALISES = "generalises", "Says more loosely what the other says exactly."
    CORROBORATES = "corroborates", "Supports the other from an origin independent of it."
    CONFLICTS_WITH = "conflicts_with", "Can't be true together with the other; symmetric."
    SUPERSEDES = "supersedes", "Replaces the other as the later statement of the same claimant."
    QUALIFIES = "qualifies", "Limits the other or makes it conditional, without contradicting it."
    EXPLAINS = "explains", "Gives a reason or background for the other."
    EVIDENCE_FOR = "evidence_for", "Is put forward as grounds for believing the other."
    RESPONDS_TO = "responds_to", "Answers the other, without being recorded as its denial."
    ABOUT = "about", "Is about the other claim, or about the fact that it was made."
    SAME_ORIGIN_AS = (
        "same_origin_as",
        "Goes back to the same origin, so neither supports the other; symmetric.",
    )
    OVERLAPS = "overlaps", "Shares part of its content with the other; symmetric."


class RelationBasis(Vocabulary):
    """Who says that the two are related? Some relations are reported, others inferred."""

    STATED_IN_TEXT = "stated_in_text", "The article or the claimant says so."
    EDITOR = "editor", "An editor judged so."
    COMPUTED = "computed", "A program inferred it."
    IMPORT = "import", "It came with imported records."


class RelationState(Vocabulary):
    """Has the relation been accepted? A rejected one is kept, so that it is not suggested again."""

    SUGGESTED = "suggested", "Proposed and not yet judged."
    CONFIRMED = "confirmed", "Accepted."
    REJECTED = "rejected", "Judged to be wrong."


class Validity(Vocabulary):
    """Is the claim still maintained as it was made? It says nothing about the truth."""

    STANDING = "standing", "Not taken back or replaced, as far as is known."
    SUPERSEDED = "superseded", "Replaced by a later claim of the same claimant."
    RETRACTED_BY_CLAIMANT = "retracted_by_claimant", "Taken back by its claimant."
    WITHDRAWN_BY_PUBLISHER = "withdrawn_by_publisher", "Taken back by its publisher."
    DISOWNED = (
        "disowned",
        'The credited source says that it never made the claim: "I never said that".',
    )


class ReviewStatus(Vocabulary):
    """Where is the record in the desk's workflow? It says nothing about the truth."""

    DRAFT = "draft", "Being written; not yet offered for review."
    IN_REVIEW = "in_review", "Waiting for, or under, an editor's review."
    APPROVED = "approved", "Accepted by an editor; not yet published."
    PUBLISHED = "published", "Released to readers, once any embargo has passed."
    REJECTED = "rejected", "Not accepted in review; it may be corrected and offered again."
    KILLED = "killed", "Stopped for good by an editor, before or after publication."


class ExtractionMethod(Vocabulary):
    """How was the record made from its material? This helps to judge how far to trust it."""

    MANUAL = "manual", "By a person who read the material."
    MODEL = "model", "By a statistical or language model."
    IMPORT = "import", "Taken over from another data set."
    RULE = "rule", "By fixed rules, such as patterns or a parser."


class Precision(Vocabulary):
    """How exactly is the time known? The most exact comes first."""

    SECOND = "second", "Known to the second."
    MINUTE = "minute", "Known to the minute."
    HOUR = "hour", "Known to the hour."
    DAY = "day", "Known to the day."
    WEEK = "week", "Known to the week."
    MONTH = "month", "Known to the month."
    QUARTER = "quarter", "Known to the quarter of a year."
    YEAR = "year", "Known to the year."
    UNKNOWN = "unknown", 'Not known, such as "on Monday" in a text without a date.'


# Denials


class DenialKind(Vocabulary):
    """How was a claim answered, or left unanswered? Most kinds are no strict denials."""

    FULL_DENIAL = "full_denial", "Rejects the whole of what was claimed."
    PARTIAL_DENIAL = "partial_denial", "Rejects a part and leaves open or admits the rest."
    DISPUTES_FIGURES = "disputes_figures", "Rejects the numbers, not that it happened."
    DISPUTES_RESPONSIBILITY = (
        "disputes_responsibility",
        "Rejects having done it or being responsible for it, not that it happened.",
    )
    DENIES_KNOWLEDGE = (
        "denies_knowledge",
        "Says that they did not know of it, not that it is untrue.",
    )
    DISOWNS_STATEMENT = (
        "disowns_statement",
        "Says that they did not say the words that they are credited with.",
    )
    NON_DENIAL_DENIAL = (
        "non_denial_denial",
        "Sounds like a denial, but on close reading does not contradict the claim.",
    )
    DISPUTES_CHARACTERISATION = (
        "disputes_characterisation",
        "Objects to the description, not to the facts.",
    )
    JUSTIFICATION = "justification", "Defends the conduct as right or needed, without denying it."
    COUNTER_ACCUSATION = "counter_accusation", "Answers by accusing the accuser or someone else."
    SOURCE_ATTACK = (
        "source_attack",
        "Attacks the credibility or motive of the source, not the claim.",
    )
    DEMANDS_EVIDENCE = (
        "demands_evidence",
        "Asks for proof, without saying that the claim is untrue.",
    )
    NEITHER_CONFIRMS_NOR_DENIES = (
        "neither_confirms_nor_denies",
        "Leaves open whether it is true, in its own words or as reported.",
    )
    DECLINED_TO_COMMENT = (
        "declined_to_comment",
        'Was reached and refused to say anything about the claim: "no comment".',
    )
    DID_NOT_RESPOND = (
        "did_not_respond",
        "Was asked for comment and had not answered when the article was published.",
    )
    COULD_NOT_BE_REACHED = (
        "could_not_be_reached",
        "Could not be contacted for comment, and so had no chance to answer.",
    )
    OMISSION = "omission", "Made a statement, the scope, which does not mention the claim."
    AFFIRMATION = "affirmation", "The source that the claim concerns confirms or admits it."
    APOLOGY = "apology", "Expresses regret and takes responsibility for what was claimed."
    THIRD_PARTY_SUPPORT = (
        "third_party_support",
        "A source that the claim does not concern supports it, or supports another response.",
    )
    THIRD_PARTY_CONFIRMATION = (
        "third_party_confirmation",
        "A source that the claim does not concern confirms it from its own knowledge.",
    )
    UNSPECIFIED = "unspecified", "A response is reported, but not how it answers the claim."


class DenialFamily(Vocabulary):
    """Did they deny it? The short answer, which follows from the kind of denial."""

    DENIES = "denies", "Yes: rejects the claim, a part of it, or the responder's own role in it."
    DEFLECTS = "deflects", "No: answers without contradicting what was claimed."
    DECLINES = "declines", "No: responds, but does not say whether it is true."
    SILENT = "silent", "No: the claim got no answer, which is neither a denial nor an admission."
    CONCEDES = "concedes", "No: admits it."
    SUPPORTS = "supports", "No: a source that the claim does not concern supports or confirms it."
    UNSPECIFIED = "unspecified", "Not known: the response is not described well enough to tell."


class Rollup(Vocabulary):
    """At which level are origins counted? Without the parameter, each source is one."""

    PARENT = "parent", "A source counts as the topmost source that it is part of."


class Doubt(Vocabulary):
    """Why may two origins not be independent? Doubts are listed, and change no count."""

    SHARED_MEMBER = (
        "shared_member",
        "One is a member of the other, or both have a member in common.",
    )
    POSSIBLY_SAME = (
        "possibly_same",
        "They may be the same source: one is `possibly_same_as` the other.",
    )
    PARENT = "parent", "One is a part of the other."


class ConflictBasis(Vocabulary):
    """How is it known that two figures conflict? Computed conflicts are stored nowhere."""

    STATED = "stated", "The claims have the relation `conflicts_with`, which is confirmed."
    COMPUTED = (
        "computed",
        "The figures count the same thing at the same time, and can't both be right.",
    )


class SuggestionReason(Vocabulary):
    """Why may lost words stand at a place? A suggestion moves nothing by itself."""

    SAME_WORDS = "same_words", "The words stand only there, but other words surround them."
    ONE_OF_SEVERAL = "one_of_several", "The words stand there, and at other places too."
    TYPOGRAPHY = (
        "typography",
        "Only quotation marks, dashes, spaces, ligatures, case or the coding of accents differ.",
    )
    SIMILAR = (
        "similar",
        "Similar words stand there, or other words between the same surrounding text.",
    )


class ObservedBy(Vocabulary):
    """Who says that this was the response? Silence can only be observed by the article."""

    RESPONDER_STATEMENT = "responder_statement", "The responder said it, as quoted or paraphrased."
    ARTICLE_OBSERVATION = (
        "article_observation",
        "The article says so. Silence is always observed by the article.",
    )


class Coverage(Vocabulary):
    """How clear is it that the denial is aimed at this target? A denial can have many targets."""

    EXPLICIT = "explicit", "The text says that the denial answers this target."
    INFERRED = "inferred", "Not said, but it follows from the text or its context."
    AMBIGUOUS = "ambiguous", 'The text can be read either way: "denied the accusations".'


class DenialValidity(Vocabulary):
    """Is the denial still maintained as it was made? It says nothing about the truth."""

    STANDING = "standing", "Not taken back or changed, as far as is known."
    SUPERSEDED = "superseded", "Replaced by a later response that is neither weaker nor stronger."
    RETRACTED = "retracted", "Taken back by the responder."
    SOFTENED = "softened", "Replaced by a weaker response, such as a full denial by “no comment”."
    HARDENED = "hardened", "Replaced by a stronger response, such as “no comment” by a full denial."


# Records


class RecordType(Vocabulary):
    """Of which type is the record? Each type has its own fields and its own path."""

    SOURCE = "source", "Who or what is credited with claims and denials, or carries them."
    ARTICLE = "article", "A published text in which claims and denials are printed."
    CLAIM = "claim", "An attributed assertion: who is credited, with what, said when."
    DENIAL = "denial", "A response to claims, including silence and admission."


class ImportOp(Vocabulary):
    """What should an import line do with its record? Each line has one of these."""

    UPSERT = "upsert", "Create the record, or replace it as a whole if it exists."
    DELETE = "delete", "Delete the record. No other record may refer to it."


class RevisionOp(Vocabulary):
    """What was done to the record to make this version? Each revision has one of these."""

    CREATED = "created", "Written for the first time."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use; a tombstone and the history remain."
    RESTORED = "restored", "Brought back after deletion."
    MERGED = "merged", "Joined into another source, to which its id now leads."
    PURGED = (
        "purged",
        "Content and history erased for good; only id and version remain. Not in use yet.",
    )


class ChangeOp(Vocabulary):
    """What does a change mean for a copy of the records? Each change has one of these."""

    CREATED = "created", "The record is new, or the reader can see it from now on."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use."
    RESTORED = "restored", "Brought back after deletion."
    MERGED = "merged", "Joined into another source, to which its id now leads."
    PURGED = (
        "purged",
        "Content and history erased for good: erase the copies too. Not in use yet.",
    )
    REMOVED = "removed", "The reader can no longer see the record: remove the copy."


class MergeState(Vocabulary):
    """How far is a merge of sources, or its undoing? Each merge is in one of these states."""

    REPOINTING = (
        "repointing",
        "Merged. Records that name the merged source are being changed to name the survivor.",
    )
    DONE = "done", "Merged. No record names the merged source any more."
    RESTORING = (
        "restoring",
        "Undone. Records that named the merged source are being changed to name it again.",
    )
    UNDONE = "undone", "Undone. All records name the merged source again where that was possible."


class Link(Vocabulary):
    """How does a record refer to another? Named for the records that prevent a deletion."""

    ATTRIBUTION = "attribution", "The source of a hop."
    VIA = "via", "The vehicle of a hop."
    AUDIENCE = "audience", "The audience of a hop."
    APPEARANCE = "appearance", "The article in which it is printed."
    PARTY = "party", "A person, body or thing that a claim is about."
    RELATION = "relation", "The claim, the article or the source that it is related to."
    PARENT = "parent", "The claim or the source that it is part of."
    TARGET = "target", "The claim, denial or article that a denial answers."
    SCOPE = "scope", "The statement that was silent."
    SUPERSEDED_BY = "superseded_by", "The denial that replaced it."
    AUTHOR = "author", "The author of an article."
    PUBLISHER = "publisher", "The publisher of an article."
    CREDIT = "credit", "A source that an article credits for the whole piece."
    CORRECTION = "correction", "A claim that a correction names."
    MEMBER = "member", "A member of a group."
    MERGED_INTO = "merged_into", "The survivor of a merged source."
    ORGANISATION = "organisation", "The organisation in which a source holds a role."


# Access


class Scope(Vocabulary):
    """What may a key do? Each operation needs one of these; without it the answer is 403."""

    READ = "read", "Read what is published and not under embargo. Every key may."
    DRAFTS_READ = "drafts:read", "Read records in every state, also under embargo."
    CONFIDENTIAL_READ = (
        "confidential:read",
        "Read restricted sources, and the identities of anonymous ones.",
    )
    ARTICLES_WRITE = "articles:write", "Write articles, and read those that are not public yet."
    CLAIMS_WRITE = "claims:write", "Write claims, and read those that are not public yet."
    SOURCES_WRITE = "sources:write", "Write sources, and read the internal ones."
    DENIALS_WRITE = "denials:write", "Write denials, and read those that are not public yet."
    IMPORT = "import", "Write many records of the types that the key may write, in one request."
    WEBHOOKS = "webhooks", "Manage the key's own webhooks."
    KEYS = "keys", "Create, list, rotate and revoke keys."
    AUDIT_READ = (
        "audit:read",
        "Read the audit log: what was done, by which key, and what was refused.",
    )


class Audited(Vocabulary):
    """What was changed? Each change in the audit log is of one of these."""

    ARTICLE = "article", "A published text in which claims and denials are printed."
    CLAIM = "claim", "An attributed assertion: who is credited, with what, said when."
    SOURCE = "source", "Who or what is credited with claims and denials, or carries them."
    DENIAL = "denial", "A response to claims, including silence and admission."
    KEY = "key", "A key of this service."
    IDENTITY = "identity", "The identity of an anonymous source."
    WEBHOOK = "webhook", "A URL that changes are sent to."


class AuditOp(Vocabulary):
    """What was done or tried? Each event in the audit log has one of these."""

    CREATED = "created", "Created."
    READ = "read", "Read: the identity of an anonymous source."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use."
    RESTORED = "restored", "Brought back after deletion."
    MERGED = "merged", "Joined into another source."
    ROTATED = "rotated", "Given a new secret."
    REVOKED = "revoked", "Revoked for ever."
    REPLAYED = "replayed", "Moved to another position in the feed."
    PAUSED = "paused", "Stopped by the service; `paused_reason` says why."
    REFUSED = "refused", "Not done: the key was not valid, or did not have the scope."


# Health


class HealthStatus(Vocabulary):
    """What is the state of the service? Each health check has one good answer."""

    ALIVE = "alive", "The service answers."
    READY = "ready", "The service can do its work."


# Webhooks


class WebhookStatus(Vocabulary):
    """Are changes sent to the webhook? A paused webhook keeps its position in the feed."""

    ACTIVE = "active", "Changes are sent as they are made."
    PAUSED = "paused", "Only tests are sent; `paused_reason` says why."


class PausedReason(Vocabulary):
    """Why is the webhook paused? Tells what has to be repaired before it is resumed."""

    REQUESTED = "requested", "Its owner paused it."
    GONE = "gone", "The receiver answered 410, so it wants no more messages."
    FAILING = "failing", "The receiver accepted no message for about three days."
    KEY_REVOKED = "key_revoked", "Its key was revoked."
    KEY_EXPIRED = "key_expired", "Its key has expired."
    RESYNC_REQUIRED = (
        "resync_required",
        "The feed was restored from a backup: export again, replay from its cursor, then resume.",
    )


# The short answer to "did they deny it?", so that no client has to group the kinds itself.
FAMILY_OF: Final[Mapping[DenialKind, DenialFamily]] = MappingProxyType(
    {
        DenialKind.FULL_DENIAL: DenialFamily.DENIES,
        DenialKind.PARTIAL_DENIAL: DenialFamily.DENIES,
        DenialKind.DISPUTES_FIGURES: DenialFamily.DENIES,
        DenialKind.DISPUTES_RESPONSIBILITY: DenialFamily.DENIES,
        DenialKind.DENIES_KNOWLEDGE: DenialFamily.DENIES,
        DenialKind.DISOWNS_STATEMENT: DenialFamily.DENIES,
        DenialKind.NON_DENIAL_DENIAL: DenialFamily.DEFLECTS,
        DenialKind.DISPUTES_CHARACTERISATION: DenialFamily.DEFLECTS,
        DenialKind.JUSTIFICATION: DenialFamily.DEFLECTS,
        DenialKind.COUNTER_ACCUSATION: DenialFamily.DEFLECTS,
        DenialKind.SOURCE_ATTACK: DenialFamily.DEFLECTS,
        DenialKind.DEMANDS_EVIDENCE: DenialFamily.DEFLECTS,
        DenialKind.NEITHER_CONFIRMS_NOR_DENIES: DenialFamily.DECLINES,
        DenialKind.DECLINED_TO_COMMENT: DenialFamily.DECLINES,
        DenialKind.DID_NOT_RESPOND: DenialFamily.SILENT,
        DenialKind.COULD_NOT_BE_REACHED: DenialFamily.SILENT,
        DenialKind.OMISSION: DenialFamily.SILENT,
        DenialKind.AFFIRMATION: DenialFamily.CONCEDES,
        DenialKind.APOLOGY: DenialFamily.CONCEDES,
        DenialKind.THIRD_PARTY_SUPPORT: DenialFamily.SUPPORTS,
        DenialKind.THIRD_PARTY_CONFIRMATION: DenialFamily.SUPPORTS,
        DenialKind.UNSPECIFIED: DenialFamily.UNSPECIFIED,
    }
)

# These are stored once, where they were written, and found from both ends.
SYMMETRIC_RELATIONS: Final = frozenset(
    {RelationKind.CONFLICTS_WITH, RelationKind.SAME_ORIGIN_AS, RelationKind.OVERLAPS}
)
SYMMETRIC_SOURCE_RELATIONS: Final = frozenset(
    {SourceRelationKind.POSSIBLY_SAME_AS, SourceRelationKind.DISTINCT_FROM}
)

# Subclasses come in the order of their definition, which is the reading order.
VOCABULARIES: Final[Mapping[str, type[Vocabulary]]] = MappingProxyType(
    {
        re.sub(r"(?<!^)(?=[A-Z])", "_", vocabulary.__name__).lower(): vocabulary
        for vocabulary in Vocabulary.__subclasses__()
    }
)
