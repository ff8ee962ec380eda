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


class ArticleStatus(Vocabulary):
    """May this article be used? Says how far its publisher, or the desk, still stands behind it."""

    USABLE = "usable", "May be used and cited as it stands."
    WITHHELD = "withheld", "Held back for now, for example for legal or editorial review."
    RETRACTED = "retracted", "Withdrawn by its publisher, who no longer stands by it."
    TAKEN_DOWN = "taken_down", "Removed from publication, for example after a legal demand."


class ZoneKind(Vocabulary):
    """Which part of the article's text is this? Prominence and authorship differ by part."""

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
    FOOTER = "footer", "Closing matter after the body, such as credits, contacts and copyright."


class CorrectionKind(Vocabulary):
    """What sort of notice did the publisher attach to the article? An update admits no error."""

    CORRECTION = "correction", "Admits a factual error and puts it right."
    CLARIFICATION = "clarification", "Makes wording clearer that was not wrong but could mislead."
    EDITORS_NOTE = "editors_note", "Tells readers about the article's sourcing, ethics or context."
    UPDATE = "update", "Adds later developments; admits no error."
    RETRACTION = "retraction", "Withdraws the article, or a stated part of it, altogether."


class CorrectionEffect(Vocabulary):
    """What did the correction do to the claims that it names? Tells their users what to recheck."""

    TEXT_CHANGED = "text_changed", "The wording of the claim was changed."
    FIGURE_CHANGED = "figure_changed", "A number, date or amount in the claim was changed."
    ATTRIBUTION_CHANGED = "attribution_changed", "The claim is now credited to another source."
    REMOVED = "removed", "The claim no longer stands in the article."
    ADDED = "added", "The claim was put into the article by the correction."
    UNAFFECTED = "unaffected", "The claim was checked against the correction and stays as it was."


class ArticleRelationKind(Vocabulary):
    """How does this article relate to the other? A copy or rewrite is no independent report."""

    SYNDICATED_COPY_OF = (
        "syndicated_copy_of",
        "Prints the other's text, bought or shared, such as agency copy, in substance unchanged.",
    )
    REWRITE_OF = "rewrite_of", "Retells the other in new words, without reporting of its own."
    TRANSLATION_OF = "translation_of", "Gives the other's text in another language."
    FOLLOW_UP_TO = "follow_up_to", "Reports later developments of the story told in the other."
    REPLACES = "replaces", "Was published in the other's stead, such as a write-through."


# Sources


class SourceKind(Vocabulary):
    """What is the source: who speaks, or what carries the words? Not how well it is identified."""

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
    UNKNOWN = "unknown", "What the source is can't be told from what is printed."


class Identification(Vocabulary):
    """How well does the printed text identify the source? A separate question from its kind."""

    NAMED = "named", "Given by name."
    DESCRIBED = "described", 'Given by description without a name: "a US official".'
    ANONYMOUS = "anonymous", "Name deliberately withheld, or unknown; the record must hold no name."
    COLLECTIVE = "collective", "Given as several together, whose members are not told apart."
    IMPLICIT = "implicit", 'Not mentioned, but understood: "amid alarm" implies who is alarmed.'


class NameKind(Vocabulary):
    """What sort of name is this? All of a source's names find it."""

    OFFICIAL = "official", "The full formal name."
    ALIAS = "alias", "Another name in use, such as a pseudonym, call sign or user name."
    METONYM = "metonym", 'A place or thing that stands for the source: "the Pentagon".'
    SHORT = "short", "A shortened form, such as a surname, an abbreviation or initials."
    TRANSLITERATION = "transliteration", "The name carried over into another script by its sound."
    NATIVE_SCRIPT = "native_script", "The name in the script of its own language."
    FORMER = "former", "A name that was once right and has been given up."


class MemberRole(Vocabulary):
    """What is the listed source to the one that lists it? A group, a text or a body may list."""

    MEMBER = "member", "Belongs to the group."
    SIGNATORY = "signatory", "Put its name to the statement or document."
    AUTHOR = "author", "Wrote or made it."
    PART_OF = "part_of", "Is a component of it, such as a chapter of a report."


class Confidentiality(Vocabulary):
    """Who may see this source? Source protection, apart from how the article identifies it."""

    PUBLIC = "public", "May be seen by every reader."
    INTERNAL = "internal", "For the newsroom only; never published."
    RESTRICTED = "restricted", "Only for those permitted to see confidential sources."
    PROTECTED = (
        "protected",
        "As restricted, and the source was promised protection: exposure could do it harm.",
    )


# Claims


class ClaimKind(Vocabulary):
    """What sort of thing is claimed? Decides how the claim could be checked."""

    EVENT = "event", "Something happened, happens or is being done."
    STATE_OF_AFFAIRS = "state_of_affairs", "Something is, or was, the case over a time."
    QUANTITY = "quantity", "A figure or amount, exact or vague."
    IDENTITY = "identity", "Who or what someone or something is."
    CAUSAL = "causal", "One thing brings about, or prevents, another."
    ACCUSATION = "accusation", "Someone did wrong."
    RESPONSIBILITY = "responsibility", "Someone is answerable for an act, by admission or not."
    EVALUATION = "evaluation", "A judgement of worth; can't be checked as a fact."
    POSITION = "position", "What someone supports, opposes or condemns."
    PREDICTION = "prediction", "What will or may happen."
    INTENTION = "intention", "What someone plans or promises to do."
    MEDIA_CONTENT = "media_content", "What a picture, video or recording shows."
    SPEECH_REPORT = "speech_report", "That something was said or communicated, whoever said it."
    INVESTIGATION = "investigation", "That a matter is being looked into; not what was found."


class SpeechAct(Vocabulary):
    """What was done in saying it? The class of the article's reporting verb, not a judgement."""

    STATE = "state", "Neutral reporting: said, told, stated, added."
    CLAIM = "claim", "Says so where the article does not vouch for it: claimed, alleged."
    ESTIMATE = "estimate", "Gives a figure or judgement as its best reckoning: estimated, put at."
    SUGGEST = "suggest", "Puts forward tentatively: suggested, indicated."
    ACCUSE = "accuse", "Charges someone with wrongdoing: accused, charged."
    BLAME = "blame", "Holds someone to be the cause of something bad: blamed, faulted."
    CONDEMN = "condemn", "Voices strong disapproval: condemned, denounced, deplored."
    ANNOUNCE = "announce", "Makes public what is its own to make known: announced, declared."
    WARN = "warn", "Tells of a danger ahead: warned, cautioned, threatened."
    PREDICT = "predict", "Says what will happen: predicted, forecast, expected."
    CITE = "cite", "Passes on what another source says: cited, quoted, referred to."
    CONFIRM = "confirm", "Says that something reported before is so: confirmed, acknowledged."
    DESCRIBE = "describe", "Characterises or recounts: described, called, depicted."
    CALL_FOR = "call_for", "Asks that something be done: called for, urged, demanded."
    IMPLY = "imply", "Conveys without saying: implied, or contained in other words."


class Certainty(Vocabulary):
    """How sure does the claimant claim to be? Neither the truth nor the article's own distance."""

    CERTAIN = "certain", "Put forward as fact, without a hedge."
    PROBABLE = "probable", 'Hedged as likely: "probably", "is believed to", an estimate.'
    POSSIBLE = "possible", 'Hedged as no more than possible: "may", "could".'
    UNSPECIFIED = "unspecified", "How sure the claimant is can't be told from what is printed."


class Polarity(Vocabulary):
    """Is it claimed that something is so, or that it is not so? Wording, not truth."""

    POSITIVE = "positive", "Claims that it is so."
    NEGATIVE = "negative", "Claims that it is not so; an answer to a claim is a denial instead."


class Embedding(Vocabulary):
    """Is the claim made outright, or inside another, its parent? Tells what was really asserted."""

    ASSERTED = "asserted", "Put forward in its own right; needs no parent."
    EMBEDDED = (
        "embedded",
        'Content of the parent\'s own statement, as the export in "condemned the export of arms".',
    )
    PRESUPPOSED = (
        "presupposed",
        "Not said but taken for granted: the parent makes sense only if it holds, even negated.",
    )


class AttributionRole(Vocabulary):
    """What part does this source play in the chain back to the origin? A vehicle has no part."""

    CLAIMANT = "claimant", "Is credited with the claim at this position."
    CO_CLAIMANT = "co_claimant", "Makes the claim jointly with others at the same position."
    CITED = "cited", "Is relied on as their source by those nearer the reader."
    SPOKESPERSON = "spokesperson", "Speaks officially for the source that is the claimant."
    ON_BEHALF_OF = "on_behalf_of", "Is the one for whom another speaks."
    AUTHOR_VOICE = "author_voice", "The article says it itself and credits nobody."


class Resolution(Vocabulary):
    """How surely is the printed attribution matched to this source? Doubt is recorded as such."""

    CERTAIN = "certain", "The text leaves no doubt who is meant."
    PROBABLE = "probable", "One reading is clearly likelier than any other."
    AMBIGUOUS = "ambiguous", "Two or more readings are open; the source given is one of them."
    UNRESOLVED = "unresolved", 'Who is credited can\'t be told: "were said to have suffered".'


class GroundRules(Vocabulary):
    """On what terms did the source speak to the journalist? Terms differ by newsroom."""

    ON_RECORD = "on_record", "May be quoted and named."
    BACKGROUND = "background", "May be quoted under an agreed description, but not named."
    DEEP_BACKGROUND = "deep_background", "May be used, but not attributed to any source at all."
    OFF_RECORD = "off_record", "May not be published."
    UNKNOWN = "unknown", "The terms are not known."


class QuoteType(Vocabulary):
    """In what form does the article print the words? Tells whose wording the reader sees."""

    DIRECT = "direct", "Word for word, in quotation marks or set as a quotation."
    INDIRECT = "indirect", 'Paraphrased and credited: "she said that".'
    MIXED = "mixed", "Paraphrase with some of the source's own words in quotation marks."
    SCARE_QUOTE = "scare_quote", "A word or two in quotation marks, chiefly to mark distance."
    NARRATED = "narrated", "Told in the article's own narration, with no reporting clause."


class Stance(Vocabulary):
    """How far does the article itself stand behind the claim? Not the claimant's own certainty."""

    NEUTRAL = "neutral", "Reports the claim and takes no side."
    DISTANCING = "distancing", 'Marks that it does not vouch for the claim: "allegedly".'
    ENDORSING = "endorsing", 'Treats the claim as established: "pointed out", "revealed".'


class SpanRole(Vocabulary):
    """What do these printed words do in the report? Each marked span has one role."""

    CONTENT = "content", "Say what is claimed; several make a discontinuous quotation."
    SOURCE = "source", "Name or describe who is credited."
    CUE = "cue", 'Signal the attribution: "claimed", "according to".'
    QUANTITY = "quantity", "Give a figure or amount."
    DATE = "date", "Say when."
    PLACE = "place", "Say where."
    TARGET = "target", "Name what or whom the statement is aimed at."


class Anchor(Vocabulary):
    """Do the spans still stand where they were found? Set by the server, never by a client."""

    EXACT = "exact", "The words stand at these offsets."
    RELOCATED = (
        "relocated",
        "The text changed; the same words, in context, stand at one place only.",
    )
    AMBIGUOUS = "ambiguous", "The text changed; the words now stand at several places."
    ORPHANED = "orphaned", "The text changed; the words are no longer found in their context."
    UNVERIFIED = "unverified", "No article text is stored to check the words against."


class Metric(Vocabulary):
    """What does the figure count or measure? These are starter terms; other metrics are allowed."""

    KILLED = "killed", "People killed."
    INJURED = "injured", "People wounded or hurt who are not counted as dead."
    KILLED_OR_WOUNDED = "killed_or_wounded", "Dead and wounded in one figure, said to be both."
    CASUALTIES = (
        "casualties",
        "So called in print; usually dead and wounded, at times captured or missing as well.",
    )
    LOSSES = "losses", "So called in print; people, equipment or both, not told apart."
    MISSING = "missing", "People whose whereabouts are unknown."
    CAPTURED = "captured", "People taken prisoner."
    DISPLACED = "displaced", "People driven from their homes."
    DEPLOYED = "deployed", "People sent into service or action, such as troops or police."
    ARRESTED = "arrested", "People taken into custody by an authority."
    SHARE_PERCENT = "share_percent", "A part of a whole, in per cent: 12 is 12%."
    MONEY = "money", "An amount of money; the unit gives the currency."


class Qualifier(Vocabulary):
    """How do the printed words bound the figure? Decides which numbers the quantity has."""

    EXACT = "exact", "Given as just this number: `value`."
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
    """What has this place to do with the claim? Where it was said need not be where it happened."""

    EVENT = "event", "Where it is said to happen or have happened."
    ORIGIN = "origin", "From where a movement or transfer starts."
    DESTINATION = "destination", "To where a movement or transfer leads."
    STATEMENT = "statement", "Where the claim was made."
    SCOPE = "scope", "The area for which the claim is meant to hold, or which it concerns."


class RelationKind(Vocabulary):
    """How does this claim relate to the other? Read "this claim … the other claim"."""

    RESTATES = "restates", "Says the same again, in other words or at another place."
    SPECIFIES = "specifies", "Says more exactly what the other says loosely."
    GENERALISES = "generalises", "Says more loosely what the other says exactly."
    CORROBORATES = "corroborates", "Supports the other from an origin independent of it."
    CONFLICTS_WITH = "conflicts_with", "Can't be true together with the other; symmetric."
    SUPERSEDES = "supersedes", "Takes the other's place as the claimant's later word."
    QUALIFIES = "qualifies", "Limits the other or makes it conditional, without contradicting it."
    EXPLAINS = "explains", "Gives a reason or background for the other."
    EVIDENCE_FOR = "evidence_for", "Is put forward as grounds for believing the other."
    RESPONDS_TO = "responds_to", "Answers the other, without being recorded as its denial."
    ABOUT = "about", "Takes the other, or the making of it, as its topic."
    SAME_ORIGIN_AS = (
        "same_origin_as",
        "Goes back to the same origin, so neither supports the other; symmetric.",
    )
    OVERLAPS = "overlaps", "Shares part of its content with the other; symmetric."


class RelationBasis(Vocabulary):
    """On whose word does the relation rest? Tells reported relations from inferred ones."""

    STATED_IN_TEXT = "stated_in_text", "The article or the claimant says so."
    EDITOR = "editor", "An editor judged so."
    COMPUTED = "computed", "A program inferred it."
    IMPORT = "import", "It came with imported records."


class RelationState(Vocabulary):
    """Has the relation been accepted? A rejected one is kept, so that it is not suggested again."""

    SUGGESTED = "suggested", "Proposed and not yet judged."
    CONFIRMED = "confirmed", "Accepted."
    REJECTED = "rejected", "Judged not to hold."


class Validity(Vocabulary):
    """Does the claim still stand as made? Says nothing on whether it is true."""

    STANDING = "standing", "Not taken back or replaced, as far as is known."
    SUPERSEDED = "superseded", "Replaced by a later claim of the same claimant."
    RETRACTED_BY_CLAIMANT = "retracted_by_claimant", "Taken back by the one who made it."
    WITHDRAWN_BY_PUBLISHER = "withdrawn_by_publisher", "Taken back by the one who printed it."
    DISOWNED = "disowned", 'The one credited says they never made it: "I never said that".'


class ReviewStatus(Vocabulary):
    """Where does the record stand in the desk's workflow? Says nothing on truth."""

    DRAFT = "draft", "Being written; not yet offered for review."
    IN_REVIEW = "in_review", "Waiting for, or under, an editor's review."
    APPROVED = "approved", "Passed by an editor; not yet published."
    PUBLISHED = "published", "Released to readers, once any embargo has passed."
    REJECTED = "rejected", "Not passed in review; may be mended and offered again."
    KILLED = "killed", "Stopped for good by an editor, before or after publication."


class ExtractionMethod(Vocabulary):
    """How was the record drawn from its material? Helps to judge how far to trust it."""

    MANUAL = "manual", "By a person reading."
    MODEL = "model", "By a statistical or language model."
    IMPORT = "import", "Taken over from another data set."
    RULE = "rule", "By fixed rules, such as patterns or a parser."


class Precision(Vocabulary):
    """How finely is the time known? Finest first."""

    SECOND = "second", "Known to the second."
    MINUTE = "minute", "Known to the minute."
    HOUR = "hour", "Known to the hour."
    DAY = "day", "Known to the day."
    WEEK = "week", "Known to the week."
    MONTH = "month", "Known to the month."
    QUARTER = "quarter", "Known to the quarter of a year."
    YEAR = "year", "Known to the year."
    UNKNOWN = "unknown", 'Not resolved, as "on Monday" in an undated text.'


# Denials


class DenialKind(Vocabulary):
    """In what way was a claim answered, or left unanswered? Most kinds are not denials proper."""

    FULL_DENIAL = "full_denial", "Rejects the whole of what was claimed."
    PARTIAL_DENIAL = "partial_denial", "Rejects a part and leaves or grants the rest."
    DISPUTES_FIGURES = "disputes_figures", "Rejects the numbers, not that it happened."
    DISPUTES_RESPONSIBILITY = (
        "disputes_responsibility",
        "Rejects having done it or being answerable for it, not that it happened.",
    )
    DENIES_KNOWLEDGE = "denies_knowledge", "Says they did not know of it; not that it is untrue."
    DISOWNS_STATEMENT = "disowns_statement", "Rejects having said what they are credited with."
    NON_DENIAL_DENIAL = (
        "non_denial_denial",
        "Sounds like a denial, but on close reading does not contradict the claim.",
    )
    DISPUTES_CHARACTERISATION = (
        "disputes_characterisation",
        "Objects to how it is described or framed, not to the facts.",
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
        "Leaves open whether it is true, in its own words or as reported; may say other things.",
    )
    DECLINED_TO_COMMENT = (
        "declined_to_comment",
        'Was reached and refused to say anything on the claim: "no comment".',
    )
    DID_NOT_RESPOND = (
        "did_not_respond",
        "Was asked for comment and had sent no answer by publication.",
    )
    COULD_NOT_BE_REACHED = (
        "could_not_be_reached",
        "Was sought for comment but not contacted, so had no chance to answer.",
    )
    OMISSION = "omission", "Made a statement, the scope, that does not mention the claim."
    AFFIRMATION = "affirmation", "Confirms or admits what was claimed."
    APOLOGY = "apology", "Expresses regret and takes responsibility for what was claimed."
    UNSPECIFIED = "unspecified", "A response is reported, but not in what way it answers the claim."


class DenialFamily(Vocabulary):
    """Did they deny it? The safe short answer, computed from the kind of denial."""

    DENIES = "denies", "Yes: rejects the claim, a part of it, or their own part in it."
    DEFLECTS = "deflects", "No: answers without contradicting what was claimed."
    DECLINES = "declines", "No: responds, but will not say whether it is true."
    SILENT = "silent", "No: the claim got no answer, which is neither denial nor admission."
    CONCEDES = "concedes", "No: admits it."
    UNSPECIFIED = "unspecified", "Not known: the response is not described well enough to tell."


class ObservedBy(Vocabulary):
    """Who says that this was the response? Silence can only be observed by the article."""

    RESPONDER_STATEMENT = "responder_statement", "The responder said it, as quoted or paraphrased."
    ARTICLE_OBSERVATION = "article_observation", "The article notes it, as it does any silence."


class Coverage(Vocabulary):
    """How clear is it that the denial is aimed at this target? One denial may cover many claims."""

    EXPLICIT = "explicit", "The text says that this is what is answered."
    INFERRED = "inferred", "Not said, but it follows from the text or its context."
    AMBIGUOUS = "ambiguous", 'The text can be read either way: "denied the accusations".'


class DenialValidity(Vocabulary):
    """Does the denial still stand as made? Says nothing on whether it is true."""

    STANDING = "standing", "Not taken back or changed, as far as is known."
    SUPERSEDED = "superseded", "Replaced by a later response, no weaker or stronger."
    RETRACTED = "retracted", "Taken back by the responder."
    SOFTENED = "softened", "Replaced by a weaker response, such as full denial by no comment."
    HARDENED = "hardened", "Replaced by a stronger response, such as no comment by full denial."


# Records


class RecordType(Vocabulary):
    """Which of the four resources is the record? Each has its own fields and path."""

    SOURCE = "source", "Who or what is credited with claims and denials, or carries them."
    ARTICLE = "article", "A published text in which claims and denials are printed."
    CLAIM = "claim", "An attributed assertion: who is credited, with what, said when."
    DENIAL = "denial", "A response to claims, including silence and admission."


class ImportOp(Vocabulary):
    """What is to be done with the record of an import line? Each line has one."""

    UPSERT = "upsert", "Create the record, or replace it as a whole where it is there already."
    DELETE = "delete", "Delete the record, which nothing may refer to any more."


class RevisionOp(Vocabulary):
    """What was done to the record to make this version? Each revision has one."""

    CREATED = "created", "Written for the first time."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use; a tombstone and the history remain."
    RESTORED = "restored", "Brought back after deletion."
    MERGED = "merged", "Joined into another source, to which its id now leads. Not in use yet."
    PURGED = (
        "purged",
        "Content and history erased for good; only id and version remain. Not in use yet.",
    )


class ChangeOp(Vocabulary):
    """What does a change mean for whoever keeps a copy? Each change of the feed has one."""

    CREATED = "created", "New, or visible for the reader from now on."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use."
    RESTORED = "restored", "Brought back after deletion."
    MERGED = "merged", "Joined into another source, to which its id now leads. Not in use yet."
    PURGED = (
        "purged",
        "Content and history erased for good: erase the copies too. Not in use yet.",
    )
    REMOVED = "removed", "No longer visible for the reader: remove the copy."


class Link(Vocabulary):
    """As what does a record refer to another? Said of those that keep one from being deleted."""

    ATTRIBUTION = "attribution", "The source of a hop."
    VIA = "via", "The vehicle of a hop."
    AUDIENCE = "audience", "To whom a hop was said."
    APPEARANCE = "appearance", "The article in which it is printed."
    PARTY = "party", "Somebody whom a claim is about."
    RELATION = "relation", "The claim or article that it is related to."
    PARENT = "parent", "The claim that holds it, or the source that it is part of."
    TARGET = "target", "What a denial answers."
    SCOPE = "scope", "The statement that was silent."
    SUPERSEDED_BY = "superseded_by", "The denial that took its place."
    AUTHOR = "author", "Who wrote an article."
    PUBLISHER = "publisher", "Who published an article."
    CORRECTION = "correction", "A claim that a correction names."
    MEMBER = "member", "A member of a group."
    ORGANISATION = "organisation", "Where somebody holds a role."


# Access


class Scope(Vocabulary):
    """What may a key do? A route asks for one of these; without it the answer is 403."""

    READ = "read", "Read what is published and not under embargo."
    DRAFTS_READ = "drafts:read", "Read records in every state, under embargo too."
    CONFIDENTIAL_READ = "confidential:read", "Read restricted sources, and who hid behind them."
    ARTICLES_WRITE = "articles:write", "Write articles, and read those that are not public yet."
    CLAIMS_WRITE = "claims:write", "Write claims, and read those that are not public yet."
    SOURCES_WRITE = "sources:write", "Write sources, and read the internal ones."
    DENIALS_WRITE = "denials:write", "Write denials, and read those that are not public yet."
    IMPORT = "import", "Write many records of the types that the key may write, in one request."
    WEBHOOKS = "webhooks", "Manage the key's own webhooks."
    KEYS = "keys", "Create, list, rotate and revoke keys."
    AUDIT_READ = "audit:read", "Read who did what, and what was refused."


class Audited(Vocabulary):
    """What sort of thing was changed? Each change in the audit log is of one."""

    ARTICLE = "article", "A published text in which claims and denials are printed."
    CLAIM = "claim", "An attributed assertion: who is credited, with what, said when."
    SOURCE = "source", "Who or what is credited with claims and denials, or carries them."
    DENIAL = "denial", "A response to claims, including silence and admission."
    KEY = "key", "What opens the service to somebody."
    IDENTITY = "identity", "Who a source turned out to be."
    WEBHOOK = "webhook", "A place that changes are sent to."


class AuditOp(Vocabulary):
    """What was done, or tried? Each event in the audit log has one."""

    CREATED = "created", "Made."
    UPDATED = "updated", "Changed."
    DELETED = "deleted", "Removed from use."
    RESTORED = "restored", "Brought back after deletion."
    ROTATED = "rotated", "Given a new secret."
    REVOKED = "revoked", "Withdrawn for good."
    REPLAYED = "replayed", "Moved to another place in the feed."
    PAUSED = "paused", "Stopped by the service; `paused_reason` says why."
    REFUSED = "refused", "Not done: the key was wrong, or did not have the scope."


# Health


class HealthStatus(Vocabulary):
    """How is the service? Each of the questions after its health has one good answer."""

    ALIVE = "alive", "It answers."
    READY = "ready", "It can do its work."


# Webhooks


class WebhookStatus(Vocabulary):
    """Is the webhook being sent to? A paused one keeps its place in the feed."""

    ACTIVE = "active", "Changes are sent as they come."
    PAUSED = "paused", "Nothing is sent, but tests; `paused_reason` says why."


class PausedReason(Vocabulary):
    """Why is the webhook paused? Says what has to be mended before it is resumed."""

    REQUESTED = "requested", "Its owner paused it."
    GONE = "gone", "The receiver answered 410: it wants no more."
    FAILING = "failing", "The receiver took none of the attempts of about three days."
    KEY_REVOKED = "key_revoked", "Its key was revoked."
    KEY_EXPIRED = "key_expired", "Its key has expired."
    RESYNC_REQUIRED = (
        "resync_required",
        "The feed was restored from a backup: read all anew, replay from a new cursor, resume.",
    )


# The safe answer to "did they deny it?": a client never has to group the kinds itself.
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
        DenialKind.UNSPECIFIED: DenialFamily.UNSPECIFIED,
    }
)

# Stored once, where they were written, and found from both ends.
SYMMETRIC_RELATIONS: Final = frozenset(
    {RelationKind.CONFLICTS_WITH, RelationKind.SAME_ORIGIN_AS, RelationKind.OVERLAPS}
)

# Subclasses come in the order of their definition, which is the reading order.
VOCABULARIES: Final[Mapping[str, type[Vocabulary]]] = MappingProxyType(
    {
        re.sub(r"(?<!^)(?=[A-Z])", "_", vocabulary.__name__).lower(): vocabulary
        for vocabulary in Vocabulary.__subclasses__()
    }
)
