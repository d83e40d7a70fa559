"""Trains model.cbm on flats made up with a fixed seed: text categories, missing values, a price above the median."""

import catboost
import numpy as np
import pandas as pd

random = np.random.default_rng(4)
count = 2_000
district = random.choice(["harbour", "old town", "hills", "station"], count)
area = np.round(random.normal(70, 20, count).clip(20), 1)
year = random.integers(1900, 2024, count).astype(float)
price = area * 4 + 60 * (district == "old town") - 40 * (district == "station") + random.normal(0, 25, count)
flats = pd.DataFrame({"district": district, "area": area, "year": year})
flats.loc[random.random(count) < 0.1, "year"] = np.nan
flats.loc[random.random(count) < 0.05, "district"] = ""  # CatBoost has no missing category: this stands for one
flats["dear"] = price > np.median(price)
flats.to_parquet("flats.parquet", index=False)

model = catboost.CatBoostClassifier(iterations=80, depth=4, random_seed=4, thread_count=1, verbose=False)
model.set_params(allow_writing_files=False)
model.fit(flats[["district", "area", "year"]], flats["dear"], cat_features=["district"])
model.save_model("model.cbm")
