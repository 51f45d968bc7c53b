//! What fills the gaps of templates.

/// First names.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "Mary", "John", "Tom", "James", "Dan", "Sarah", "Anna", "Mark", "Paul", "Peter", "Robert", "David", "Michael", "Daniel", "Thomas",
    "George", "Henry", "William", "Charles", "Richard", "Jack", "Kate", "Laura", "Susan", "Alice", "Emma", "Lisa", "Linda", "Karen",
    "Helen", "Martin", "Simon", "Adam", "Alex", "Andrew", "Anthony", "Brian", "Chris", "Edward", "Eric", "Frank", "Jason", "Jeff", "Jim",
    "Joe", "Kevin", "Matt", "Mike", "Nick", "Patrick", "Rachel", "Ryan", "Sam", "Scott", "Steve", "Victoria", "Jennifer", "Jessica",
    "Elizabeth", "Maria",
];

/// Where people go.
#[rustfmt::skip]
pub(super) const PLACES: &[&str] = &[
    "store", "park", "school", "market", "office", "station", "restaurant", "hospital", "garden", "library", "house", "museum", "bank",
    "hotel", "church", "theater",
];

/// What people give.
#[rustfmt::skip]
pub(super) const THINGS: &[&str] = &[
    "book", "drink", "ring", "key", "ball", "letter", "gift", "card", "kiss", "computer", "bottle", "phone", "picture", "flower", "pen",
    "ticket",
];

/// What lasts some years.
#[rustfmt::skip]
pub(super) const EVENTS: &[&str] = &[
    "war", "siege", "plague", "project", "journey", "conflict", "dispute", "campaign", "expedition", "rebellion", "study", "reign", "trial",
    "debate",
];

/// The last two digits of years.
#[rustfmt::skip]
pub(super) const YEARS: &[&str] = &[
    "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "29", "30", "31", "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47", "48",
    "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", "64", "65", "66", "67", "68", "69", "70",
    "71", "72", "73", "74", "75", "76", "77", "78", "79", "80", "81", "82", "83", "84", "85", "86", "87", "88", "89", "90", "91", "92",
    "93", "94", "95",
];

/// Digits.
#[rustfmt::skip]
pub(super) const DIGITS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
];

/// Words that most vocabularies of English have.
#[rustfmt::skip]
pub(super) const COMMON: &[&str] = &[
    "river", "table", "moon", "stone", "paper", "horse", "apple", "window", "green", "cloud", "music", "road", "light", "water", "fire",
    "bird", "tree", "snow", "door", "clock", "bread", "chair", "glass", "gold", "ship", "train", "bridge", "field", "forest", "mountain",
    "island", "summer", "winter", "night", "morning", "king", "queen", "soldier", "doctor", "teacher", "farmer", "city", "village",
    "castle", "box", "hand", "head", "heart", "blood", "iron", "silver", "salt", "sugar", "milk", "coffee", "cat", "dog", "lion", "fish",
    "wolf", "bear", "snake", "corn", "rice",
];

/// Countries with their capitals.
#[rustfmt::skip]
pub(super) const CAPITALS: &[&str] = &[
    "France/Paris", "Germany/Berlin", "Italy/Rome", "Spain/Madrid", "Japan/Tokyo", "China/Beijing", "Russia/Moscow", "Egypt/Cairo",
    "Iran/Tehran", "Iraq/Baghdad", "Cuba/Havana", "Greece/Athens", "Poland/Warsaw", "Portugal/Lisbon", "Austria/Vienna", "Ireland/Dublin",
    "Sweden/Stockholm", "Norway/Oslo", "Finland/Helsinki", "Denmark/Copenhagen", "Hungary/Budapest", "Peru/Lima", "Chile/Santiago",
    "Canada/Ottawa", "England/London", "Turkey/Ankara", "Kenya/Nairobi", "Syria/Damascus", "Ukraine/Kiev", "Belgium/Brussels",
];

/// Words with their opposites.
#[rustfmt::skip]
pub(super) const OPPOSITES: &[&str] = &[
    "hot/cold", "big/small", "high/low", "fast/slow", "old/young", "rich/poor", "light/dark", "good/bad", "hard/soft", "long/short",
    "strong/weak", "wet/dry", "open/closed", "day/night", "left/right", "first/last", "early/late", "full/empty", "happy/sad", "true/false",
    "black/white", "north/south", "east/west", "male/female", "war/peace", "love/hate", "life/death", "win/lose", "push/pull",
];

/// Nouns, one and many.
#[rustfmt::skip]
pub(super) const NOUNS: &[&str] = &[
    "key/keys", "book/books", "car/cars", "dog/dogs", "tree/trees", "house/houses", "table/tables", "boy/boys", "girl/girls",
    "student/students", "door/doors", "window/windows", "chair/chairs", "farmer/farmers", "road/roads", "picture/pictures",
    "teacher/teachers", "doctor/doctors", "bird/birds", "horse/horses", "ship/ships", "king/kings", "lawyer/lawyers", "river/rivers",
];
