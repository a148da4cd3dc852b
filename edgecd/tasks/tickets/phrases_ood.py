"""What other customers say: phrasings, products and greetings that no training message has."""

from __future__ import annotations

from edgecd.tasks.tickets.phrases import PhraseBook

BILLING = (
    "Your firm debited {amount} for something nobody here asked for.",
    "The statement lists the {item} at {amount}, double the advertised figure.",
    "The reimbursement somebody agreed to never landed in my PayPal wallet.",
    "Kindly issue proper paperwork showing what we spent, our bookkeeper insists.",
    "Our direct debit bounced and now a late penalty of {amount} has been slapped on.",
    "PayPal took the cash, yet your ledger claims the {item} is outstanding.",
    "Membership dues jumped to {amount} overnight, what justifies that?",
    "We got overcharged, the sums on page two simply fail to add up.",
    "May I settle the outstanding {amount} in smaller chunks until autumn?",
    "My coupon did nothing and I ended up spending the entire {amount}.",
    "Our finance department insists on having its reference printed on every statement.",
    "I quit months ago, so why does {amount} still leave my wallet each quarter?",
    "An unfamiliar debit from your firm appeared on my Visa statement.",
    "Cheque or direct debit, how would you have us clear the debt?",
)

SHIPPING = (
    "Any clue about the whereabouts of my {item}?",
    "The {item} set off ages ago and apparently got mislaid en route.",
    "The postman dumped my {item} on the doorstep in pouring rain.",
    "What is the ETA of consignment {reference}?",
    "Could the haulier ring beforehand, since our gate stays bolted?",
    "A scribble confirms reception of the {item}, except that handwriting belongs to no one here.",
    "We relocate to {town} shortly, so kindly reroute the shipment there.",
    "Is overseas freight to {town} possible, and roughly how quickly?",
    "The shipment got held up crossing the border, officials demand forms.",
    "I sat waiting the entire afternoon and the lorry sailed straight past.",
    "Half the consignment showed up, the remaining crates are nowhere.",
    "Might it travel by Saturday post and get here ahead of our tour?",
    "Royal Mail mislaid the {item}, or so their counter staff claims.",
    "A slip says the {item} awaits collection somewhere, the scribble is illegible.",
)

RETURNS = (
    "The {item} came dented and torn, kindly fetch it and supply a fresh specimen.",
    "Inside the crate was a {second}, certainly nothing we had picked.",
    "I regret getting the {item}, how might I hand it over to you again?",
    "Might we trade the {item} for a roomier variant?",
    "What is your policy for unwanted goods?",
    "Kindly arrange for someone to fetch the defective {item} and supply a substitute.",
    "I require an RMA slip, the unwanted {item} should travel home to you.",
    "Does the cooling off fortnight apply once the wrapping is torn?",
    "The straps pinch, it is the wrong fit, so I am shipping it back to you.",
    "Torn stitching everywhere, kindly substitute the {item} free of cost.",
    "My aunt got an identical {item}, would you take hers off our hands?",
    "Three weeks ago I posted the unwanted {item} to you, did it show up?",
    "It resembles nothing in the catalogue and we would sooner get another pattern.",
    "There are greasy fingerprints all over this supposedly fresh {item}, so back it goes.",
)

ACCOUNT = (
    "I got shut out of the members portal, my passcode is no good.",
    "My authenticator went missing along with the handset, how might I regain access?",
    "Under GDPR, kindly erase everything your portal stores about me.",
    "My registration got stuck because the activation mail is nowhere.",
    "A stranger hijacked my credentials and picked another nickname.",
    "I registered under a misspelt surname, could that be amended?",
    "My user ID slipped my mind, might there be some trick for recovering it?",
    "May two bandmates share one set of credentials?",
    "Quit mailing me adverts, I consented to none.",
    "Deactivate my registration, I require access to the portal no longer.",
    "The portal insists I am under eighteen because my birthday got entered backwards.",
    "I fancy fingerprint authentication rather than a passcode, where is that hidden?",
    "Our treasurer resigned and her credentials still unlock the club portal.",
    "Since my registration lapsed the portal treats me like a stranger.",
)

TECHNICAL = (
    "The {item} hangs during boot and merely glows.",
    "Sound gets distorted whenever I plug a USB lead into the {item}.",
    "The desktop software fails to detect my {item}.",
    "Its display flickers and then the {item} dies.",
    "How does one calibrate the {item}?",
    "Syncing the {item} with MacOS fails halfway, something about a bad checksum.",
    "GPS drifts by miles, even outdoors under a clear sky.",
    "There must be some bug, presets get scrambled after hibernation.",
    "The left channel went mute while the right one hums.",
    "Plugging the {item} into the mains trips our fuse.",
    "Which codec must recordings have in order for the {item} to play them?",
    "The touch panel lags badly since I installed your patch.",
    "Your portal throws a server failure during uploads.",
    "The {item} overheats and shuts down mid concert.",
)

SALES = (
    "Would the {item} suit a novice?",
    "Our orchestra needs {count} pieces, might you prepare a quotation?",
    "Which is superior, the {item} or the {second}?",
    "Are any bargains coming up around Easter?",
    "Might I hire a {item} rather than own one?",
    "Is there a showroom around {town} stocking the {item}?",
    "Kindly post me your brochure and wholesale rates.",
    "Our budget is {amount}, which {item} makes sense?",
    "Has the limited edition {item} sold out for good?",
    "What extras are bundled with the {item}?",
    "We are kitting out a youth club and seek expert guidance on a bundle.",
    "Do pensioners get a concession when purchasing a {item}?",
    "How soon will preorders for next season's {item} begin?",
    "I am torn between your gold and silver tiers, what does each bring?",
)

OUT_OF_DOMAIN = PhraseBook(
    greetings=("Dear Sir or Madam,", "To whom it may concern,", "Greetings,", "Good evening all,"),
    contexts=(
        "Our band tours around {town} all summer.",
        "I inherited a {second} decades ago and adore it.",
        "A friend praised your firm.",
        "My previous enquiry carried reference {reference}.",
        "I purchased a {second} during the spring fair.",
        "Your hotline kept me waiting and then hung up.",
        "The {second} from your catalogue still delights us.",
        "My registration dates from 199@.",
        "Last summer's consignment got here in superb shape.",
        "Your statements have been flawless so far.",
    ),
    frames={
        "billing": BILLING,
        "shipping": SHIPPING,
        "returns": RETURNS,
        "account": ACCOUNT,
        "technical": TECHNICAL,
        "sales": SALES,
    },
    closings=(
        "Kind regards, {person}.",
        "Cheers.",
        "Yours sincerely, {person}.",
        "Much obliged.",
        "Looking forward to hearing from you.",
    ),
    slots={
        "item": (
            "drum computer",
            "sat nav",
            "dash cam",
            "metronome",
            "synthesizer",
            "bike radio",
            "microphone",
            "digital piano",
            "guitar tuner",
            "projector",
        ),
        "reference": ("QX-@@@@", "Z@@/@@", "RF@@@@@@"),
        "amount": ("£6@", "£8@.40", "€9@.20", "€3@@"),
        "count": ("eight", "fifteen", "thirty", "ninety"),
        "town": ("Lisbon", "Oslo", "Cardiff", "Perth", "Krakow"),
        "person": ("Ingrid", "Matteo", "Fatima", "Gareth", "Yuki"),
    },
)
