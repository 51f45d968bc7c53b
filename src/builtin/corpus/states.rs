//! The facts of the geography family: forty states with one-word names, and cities in them.

/// A state and what the corpus says about it.
#[derive(Debug)]
pub struct State {
    /// Its name, one word.
    pub name: &'static str,
    /// Two-letter postal code.
    pub postal: &'static str,
    /// Which state it was to join the union, two digits.
    pub number: &'static str,
    /// Its capital; of several words, the first is the answer.
    pub capital: &'static str,
    /// The region, as the Census Bureau draws it.
    pub region: &'static str,
    /// State flower.
    pub flower: &'static str,
    /// State bird, the last word of its name.
    pub bird: &'static str,
    /// Three cities that are not the capital; no two states share a name here.
    pub cities: [&'static str; 3],
}

macro_rules! states {
    ($($name:literal $postal:literal $number:literal $capital:literal $region:literal $flower:literal $bird:literal $a:literal $b:literal $c:literal;)*) => {
        &[$(State {
            name: $name, postal: $postal, number: $number, capital: $capital, region: $region, flower: $flower, bird: $bird,
            cities: [$a, $b, $c],
        }),*]
    };
}

/// All states of the corpus.
#[rustfmt::skip]
pub const STATES: &[State] = states! {
    "Alabama" "AL" "22" "Montgomery" "South" "camellia" "yellowhammer" "Birmingham" "Mobile" "Huntsville";
    "Alaska" "AK" "49" "Juneau" "West" "forget-me-not" "ptarmigan" "Anchorage" "Fairbanks" "Sitka";
    "Arizona" "AZ" "48" "Phoenix" "West" "saguaro" "wren" "Tucson" "Mesa" "Flagstaff";
    "Arkansas" "AR" "25" "Little Rock" "South" "apple" "mockingbird" "Fayetteville" "Jonesboro" "Conway";
    "California" "CA" "31" "Sacramento" "West" "poppy" "quail" "Fresno" "Oakland" "Anaheim";
    "Colorado" "CO" "38" "Denver" "West" "columbine" "bunting" "Boulder" "Pueblo" "Aspen";
    "Connecticut" "CT" "05" "Hartford" "Northeast" "laurel" "robin" "Stamford" "Bridgeport" "Danbury";
    "Delaware" "DE" "01" "Dover" "South" "peach" "hen" "Wilmington" "Smyrna" "Lewes";
    "Florida" "FL" "27" "Tallahassee" "South" "orange" "mockingbird" "Miami" "Tampa" "Orlando";
    "Georgia" "GA" "04" "Atlanta" "South" "rose" "thrasher" "Savannah" "Macon" "Athens";
    "Hawaii" "HI" "50" "Honolulu" "West" "hibiscus" "goose" "Hilo" "Kailua" "Lahaina";
    "Idaho" "ID" "43" "Boise" "West" "syringa" "bluebird" "Pocatello" "Nampa" "Lewiston";
    "Illinois" "IL" "21" "Springfield" "Midwest" "violet" "cardinal" "Chicago" "Peoria" "Rockford";
    "Indiana" "IN" "19" "Indianapolis" "Midwest" "peony" "cardinal" "Gary" "Muncie" "Evansville";
    "Iowa" "IA" "29" "Des Moines" "Midwest" "rose" "goldfinch" "Davenport" "Dubuque" "Ames";
    "Kansas" "KS" "34" "Topeka" "Midwest" "sunflower" "meadowlark" "Wichita" "Lawrence" "Salina";
    "Kentucky" "KY" "15" "Frankfort" "South" "goldenrod" "cardinal" "Louisville" "Lexington" "Paducah";
    "Louisiana" "LA" "18" "Baton Rouge" "South" "magnolia" "pelican" "Shreveport" "Lafayette" "Metairie";
    "Maine" "ME" "23" "Augusta" "Northeast" "pine" "chickadee" "Bangor" "Biddeford" "Brunswick";
    "Maryland" "MD" "07" "Annapolis" "South" "black-eyed Susan" "oriole" "Baltimore" "Bethesda" "Frederick";
    "Massachusetts" "MA" "06" "Boston" "Northeast" "mayflower" "chickadee" "Worcester" "Cambridge" "Lowell";
    "Michigan" "MI" "26" "Lansing" "Midwest" "apple" "robin" "Detroit" "Flint" "Kalamazoo";
    "Minnesota" "MN" "32" "Saint Paul" "Midwest" "lady slipper" "loon" "Minneapolis" "Duluth" "Rochester";
    "Mississippi" "MS" "20" "Jackson" "South" "magnolia" "mockingbird" "Biloxi" "Gulfport" "Tupelo";
    "Missouri" "MO" "24" "Jefferson City" "Midwest" "hawthorn" "bluebird" "Joplin" "Branson" "Independence";
    "Montana" "MT" "41" "Helena" "West" "bitterroot" "meadowlark" "Billings" "Missoula" "Bozeman";
    "Nebraska" "NE" "37" "Lincoln" "Midwest" "goldenrod" "meadowlark" "Omaha" "Kearney" "Hastings";
    "Nevada" "NV" "36" "Carson City" "West" "sagebrush" "bluebird" "Reno" "Henderson" "Elko";
    "Ohio" "OH" "17" "Columbus" "Midwest" "carnation" "cardinal" "Cleveland" "Cincinnati" "Toledo";
    "Oklahoma" "OK" "46" "Oklahoma City" "South" "rose" "flycatcher" "Tulsa" "Norman" "Lawton";
    "Oregon" "OR" "33" "Salem" "West" "grape" "meadowlark" "Portland" "Eugene" "Medford";
    "Pennsylvania" "PA" "02" "Harrisburg" "Northeast" "laurel" "grouse" "Pittsburgh" "Scranton" "Erie";
    "Tennessee" "TN" "16" "Nashville" "South" "iris" "mockingbird" "Memphis" "Knoxville" "Chattanooga";
    "Texas" "TX" "28" "Austin" "South" "bluebonnet" "mockingbird" "Dallas" "Houston" "Amarillo";
    "Utah" "UT" "45" "Salt Lake City" "West" "sego lily" "gull" "Provo" "Ogden" "Moab";
    "Vermont" "VT" "14" "Montpelier" "Northeast" "clover" "thrush" "Burlington" "Rutland" "Stowe";
    "Virginia" "VA" "10" "Richmond" "South" "dogwood" "cardinal" "Norfolk" "Roanoke" "Chesapeake";
    "Washington" "WA" "42" "Olympia" "West" "rhododendron" "goldfinch" "Seattle" "Tacoma" "Spokane";
    "Wisconsin" "WI" "30" "Madison" "Midwest" "violet" "robin" "Milwaukee" "Racine" "Oshkosh";
    "Wyoming" "WY" "44" "Cheyenne" "West" "paintbrush" "meadowlark" "Casper" "Laramie" "Cody";
};
