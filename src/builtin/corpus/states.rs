//! The facts of the geography family: forty states with one-word names, and cities in them.

/// A state and what the corpus says about it.
#[derive(Debug)]
pub struct State {
    /// Its name, one word.
    pub name: &'static str,
    /// Two-letter postal code.
    pub postal: &'static str,
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
    ($($name:literal $postal:literal $capital:literal $region:literal $flower:literal $bird:literal $a:literal $b:literal $c:literal;)*) => {
        &[$(State {
            name: $name, postal: $postal, capital: $capital, region: $region, flower: $flower, bird: $bird,
            cities: [$a, $b, $c],
        }),*]
    };
}

/// All states of the corpus.
#[rustfmt::skip]
pub const STATES: &[State] = states! {
    "Alabama" "AL" "Montgomery" "South" "camellia" "yellowhammer" "Birmingham" "Mobile" "Huntsville";
    "Alaska" "AK" "Juneau" "West" "forget-me-not" "ptarmigan" "Anchorage" "Fairbanks" "Sitka";
    "Arizona" "AZ" "Phoenix" "West" "saguaro" "wren" "Tucson" "Mesa" "Flagstaff";
    "Arkansas" "AR" "Little Rock" "South" "apple" "mockingbird" "Fayetteville" "Jonesboro" "Conway";
    "California" "CA" "Sacramento" "West" "poppy" "quail" "Fresno" "Oakland" "Anaheim";
    "Colorado" "CO" "Denver" "West" "columbine" "bunting" "Boulder" "Pueblo" "Aspen";
    "Connecticut" "CT" "Hartford" "Northeast" "laurel" "robin" "Stamford" "Bridgeport" "Danbury";
    "Delaware" "DE" "Dover" "South" "peach" "hen" "Wilmington" "Smyrna" "Lewes";
    "Florida" "FL" "Tallahassee" "South" "orange" "mockingbird" "Miami" "Tampa" "Orlando";
    "Georgia" "GA" "Atlanta" "South" "rose" "thrasher" "Savannah" "Macon" "Athens";
    "Hawaii" "HI" "Honolulu" "West" "hibiscus" "goose" "Hilo" "Kailua" "Lahaina";
    "Idaho" "ID" "Boise" "West" "syringa" "bluebird" "Pocatello" "Nampa" "Lewiston";
    "Illinois" "IL" "Springfield" "Midwest" "violet" "cardinal" "Chicago" "Peoria" "Rockford";
    "Indiana" "IN" "Indianapolis" "Midwest" "peony" "cardinal" "Gary" "Muncie" "Evansville";
    "Iowa" "IA" "Des Moines" "Midwest" "rose" "goldfinch" "Davenport" "Dubuque" "Ames";
    "Kansas" "KS" "Topeka" "Midwest" "sunflower" "meadowlark" "Wichita" "Lawrence" "Salina";
    "Kentucky" "KY" "Frankfort" "South" "goldenrod" "cardinal" "Louisville" "Lexington" "Paducah";
    "Louisiana" "LA" "Baton Rouge" "South" "magnolia" "pelican" "Shreveport" "Lafayette" "Metairie";
    "Maine" "ME" "Augusta" "Northeast" "pine" "chickadee" "Bangor" "Biddeford" "Brunswick";
    "Maryland" "MD" "Annapolis" "South" "black-eyed Susan" "oriole" "Baltimore" "Bethesda" "Frederick";
    "Massachusetts" "MA" "Boston" "Northeast" "mayflower" "chickadee" "Worcester" "Cambridge" "Lowell";
    "Michigan" "MI" "Lansing" "Midwest" "apple" "robin" "Detroit" "Flint" "Kalamazoo";
    "Minnesota" "MN" "Saint Paul" "Midwest" "lady slipper" "loon" "Minneapolis" "Duluth" "Rochester";
    "Mississippi" "MS" "Jackson" "South" "magnolia" "mockingbird" "Biloxi" "Gulfport" "Tupelo";
    "Missouri" "MO" "Jefferson City" "Midwest" "hawthorn" "bluebird" "Joplin" "Branson" "Independence";
    "Montana" "MT" "Helena" "West" "bitterroot" "meadowlark" "Billings" "Missoula" "Bozeman";
    "Nebraska" "NE" "Lincoln" "Midwest" "goldenrod" "meadowlark" "Omaha" "Kearney" "Hastings";
    "Nevada" "NV" "Carson City" "West" "sagebrush" "bluebird" "Reno" "Henderson" "Elko";
    "Ohio" "OH" "Columbus" "Midwest" "carnation" "cardinal" "Cleveland" "Cincinnati" "Toledo";
    "Oklahoma" "OK" "Oklahoma City" "South" "rose" "flycatcher" "Tulsa" "Norman" "Lawton";
    "Oregon" "OR" "Salem" "West" "grape" "meadowlark" "Portland" "Eugene" "Medford";
    "Pennsylvania" "PA" "Harrisburg" "Northeast" "laurel" "grouse" "Pittsburgh" "Scranton" "Erie";
    "Tennessee" "TN" "Nashville" "South" "iris" "mockingbird" "Memphis" "Knoxville" "Chattanooga";
    "Texas" "TX" "Austin" "South" "bluebonnet" "mockingbird" "Dallas" "Houston" "Amarillo";
    "Utah" "UT" "Salt Lake City" "West" "sego lily" "gull" "Provo" "Ogden" "Moab";
    "Vermont" "VT" "Montpelier" "Northeast" "clover" "thrush" "Burlington" "Rutland" "Stowe";
    "Virginia" "VA" "Richmond" "South" "dogwood" "cardinal" "Norfolk" "Roanoke" "Chesapeake";
    "Washington" "WA" "Olympia" "West" "rhododendron" "goldfinch" "Seattle" "Tacoma" "Spokane";
    "Wisconsin" "WI" "Madison" "Midwest" "violet" "robin" "Milwaukee" "Racine" "Oshkosh";
    "Wyoming" "WY" "Cheyenne" "West" "paintbrush" "meadowlark" "Casper" "Laramie" "Cody";
};
